"""What is seen of every request: its count, its time, its id, and the errors that nobody expected."""

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.http.problems import plain_response
from service.metrics import Metrics

log = logging.getLogger("retrievalguard")
access = logging.getLogger("retrievalguard.access")

# What asks every few seconds, day and night, and would hide the rest of the log.
PROBES = frozenset({"/livez", "/readyz", "/metrics"})


class Observe:
    """Counts, times and logs every request, gives each an id, and answers for what nobody expected.

    The id is the client's if it is a plain one, and is in every line of the log that the request causes. Of
    an unexpected error nothing leaves the server but this id.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and take notes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) else uuid.uuid4().hex
        # Not taken back at the end: the server's own lines about the request come after it, and every request
        # is a task of its own.
        logs.request_id.set(request_id)
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, respond)
        except Exception:
            log.exception("the request failed")
            if status:
                raise  # the answer has begun: all that is left is to cut it off
            detail = f"the server failed to answer; its log tells why, under request id {request_id}"
            await plain_response(500, detail)(scope, receive, respond)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(seconds)
            if route not in PROBES:
                _log(scope["method"], route, status, seconds)


def _log(method: str, route: str, status: int, seconds: float) -> None:
    """A line for a request: its route rather than its path, which a client chooses."""
    facts = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6)}
    access.info("%s %s %d in %.3f s", method, route, status, seconds, extra=facts)
