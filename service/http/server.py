"""The HTTP server around the application: uvicorn, on sockets that are bound already."""

import logging
import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from service.settings import Settings

log = logging.getLogger("retrievalguard")


class Server(uvicorn.Server):
    """Tells where it listens once it does; uvicorn leaves that to whoever made the sockets."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for address in sorted(map(_url, sockets or ())):
            log.info("running on %s (press Ctrl-C to stop)", address)


def run(app: FastAPI, settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Serve `app` until a signal ends it; the log is the caller's (`service.logs`)."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # `observe` has lines with the request's id
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
    )
    Server(config).run(list(sockets))


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
