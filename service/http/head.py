"""HEAD wherever GET is: the same answer without its body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Has the application answer HEAD as if it were GET, and leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        asked = {**scope, "method": "GET"} if is_head else scope

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                message["headers"] = [_with_head(*header) for header in message["headers"]]
            if message["type"] == "http.response.body" and is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(asked, receive, respond)
        finally:
            if "route" in asked:  # for whoever counts requests by their route
                scope["route"] = asked["route"]


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    allows_get = name.lower() == b"allow" and b"GET" in value.split(b", ") and b"HEAD" not in value
    return name, value + b", HEAD" if allows_get else value
