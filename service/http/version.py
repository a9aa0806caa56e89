"""The version of the API in a path: `/v1/retrieve` is `/retrieve`, for as long as there is one version."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.probes import route_path

PREFIX = "/v1"


class VersionPrefix:
    """Has the application see paths without the version; inside of `RootPath`, outside of all else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its path without the version."""
        if scope["type"] == "http":
            path = route_path(scope)
            if path.startswith(f"{PREFIX}/"):
                scope["path"] = scope["path"].removesuffix(path) + path.removeprefix(PREFIX)
        await self._app(scope, receive, send)
