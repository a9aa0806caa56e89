"""What holds for every request before a route sees it: how many there may be, their bodies, and their end."""

import json

from fastapi.sse import format_sse_event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded, Unavailable
from service.http.draining import Draining
from service.http.probes import is_probe, is_upload
from service.http.problems import document, problem_response
from service.http.reading import Bodies


class Limits:
    """At most `most` requests under way, with their `bodies`, until `draining` ends them; but for probes."""

    def __init__(self, app: ASGIApp, most: int, bodies: Bodies, draining: Draining) -> None:
        self._app, self._most, self._bodies, self._draining = app, most, bodies, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or is_probe(scope):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal()
        if refusal is not None:
            await problem_response(refusal)(scope, receive, send)
            return
        streams: bool | None = None  # of an answer that has begun

        async def respond(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                streams = b"text/event-stream" in dict(message["headers"]).get(b"content-type", b"")
            await send(message)

        with (
            self._draining.request() as request,
            self._bodies.counted(receive, streamed=is_upload(scope)) as read,
        ):
            await self._app(scope, read, respond)
        if request.cancelled_caught:
            refusal = self._draining.refusal()
            if streams is None:
                await problem_response(refusal)(scope, receive, send)
            elif streams:
                last = format_sse_event(event="problem", data_str=json.dumps(document(refusal)))
                await send({"type": "http.response.body", "body": last, "more_body": False})

    def _refusal(self) -> Unavailable | None:
        if self._draining.begun:
            return self._draining.refusal()
        if self._draining.under_way >= self._most:
            return Overloaded(f"{self._most} requests are under way already: try again later", retry_after=1)
        return None
