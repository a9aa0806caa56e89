"""The root path: where a proxy shows the service, if not at the root of its host."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Has the application know that it is at `root`, whether the proxy passes that on or takes it away."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its path with the root."""
        if scope["type"] == "http":
            path: str = scope["path"]
            whole = path == self._root or path.startswith(f"{self._root}/")
            scope["root_path"] = self._root
            scope["path"] = path if whole else self._root + path
        await self._app(scope, receive, send)
