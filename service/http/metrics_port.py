"""The port of the metrics, if they have one of their own: nothing else is there, and no key is asked for."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import plain_response
from service.http.routes.metrics import metrics


class MetricsPort:
    """Answers what comes in on `port` with the metrics, whatever its Host, and passes all else on.

    Who reaches that port may read them: it is for a network that only Prometheus is on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app, self._port = app, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or (scope["server"] or ("", None))[1] != self._port:
            await self._app(scope, receive, send)
        elif scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD"):
            response = await metrics(Request(scope, receive))
            await response(scope, receive, send)
        else:
            refusal = plain_response(404, "this port has GET /metrics and nothing else")
            await refusal(scope, receive, send)
