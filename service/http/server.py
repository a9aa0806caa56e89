"""The HTTP server: uvicorn with our connections, our way to shut down, and enough file descriptors."""

import asyncio
import logging
import resource
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.http.connections import SPARE, bounded
from service.http.draining import Draining
from service.settings import Settings, SettingsError

# Connections that the kernel keeps for us until we take them; asyncio takes all of them at a time.
BACKLOG = 256
# Files besides connections: databases, caches, what libraries open for a moment.
FILES = 128
# With fewer connections than this there is no service.
FEWEST = 16
# So much longer than the grace may the last words of those that are cut off take, in seconds.
LAST_WORDS = 1

log = logging.getLogger("retrievalguard")


def run(app: FastAPI, settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Serve `app`, made by `create_app`, until SIGTERM or SIGINT; a second one does not wait for what runs.

    `sockets` are bound; the log is the caller's (`service.logs`). Sets how many files the process may open.
    Raises `SettingsError` if these are too few, and KeyboardInterrupt at the end that SIGINT began.
    """
    most, backlog = _room(settings.max_connections)
    config = uvicorn.Config(
        app,
        http=bounded(most, settings.idle_timeout_seconds),  # type: ignore[arg-type]
        ws="none",
        loop="asyncio",  # also where uvloop is installed, as with the extra `cluster`
        backlog=backlog,
        log_config=None,
        access_log=False,  # `observe` has lines with the request's id
        timeout_keep_alive=settings.idle_timeout_seconds,
        timeout_graceful_shutdown=LAST_WORDS,
    )
    server = _Server(config, app.state.draining, settings.metrics_port)
    server.run(list(sockets))
    if server.interrupted:
        raise KeyboardInterrupt


def _room(wanted: int) -> tuple[int, int]:
    """How many connections there may be, at most `wanted`, and how many may wait for us.

    Descriptors are never to run out: then nothing would get in, not even a health check.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + SPARE + BACKLOG + FILES
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return wanted, BACKLOG
    files = min(FILES, soft // 2)
    backlog = min(BACKLOG, (soft - files) // 4)
    most = soft - files - SPARE - backlog
    if most < FEWEST:
        raise SettingsError(f"only {soft} files may be open: raise the limit (`ulimit -n`) to {enough}")
    log.warning(
        "only %d files may be open: at most %d connections, not %d; raise the limit (`ulimit -n`) to %d",
        soft, most, wanted, enough,
    )  # fmt: skip
    return most, backlog


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Drains before it stops listening."""

    def __init__(self, config: uvicorn.Config, draining: Draining, metrics_port: int | None) -> None:
        super().__init__(config)
        self._draining, self._metrics_port = draining, metrics_port
        self.interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where; have the loop tell of what it cannot do less often than it fails to."""
        asyncio.get_running_loop().set_exception_handler(_Exhaustion())
        await super().startup(sockets)
        for listening in sorted(sockets or (), key=_url):
            if listening.getsockname()[1] == self._metrics_port:
                log.info("metrics on %s/metrics", _url(listening))
            else:
                log.info("running on %s (press Ctrl-C to stop)", _url(listening))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the draining, the second ends it."""
        self.interrupted |= sig == signal.SIGINT
        if self._draining.begun:
            self.should_exit = True
        else:
            self._draining.begin()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; asked ten times a second."""
        if await super().on_tick(counter):
            await self._draining.cut()
            return True
        return await self._draining.over()


class _Exhaustion:
    """Handles what the event loop has nobody to tell of: running out of descriptors is logged now and then.

    asyncio tells of it once for every connection that waits, and tries again after a second.
    """

    EVERY_SECONDS = 60

    def __init__(self) -> None:
        self._told: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it, or not again so soon."""
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        now = time.monotonic()
        if self._told is None or now - self._told >= self.EVERY_SECONDS:
            self._told = now
            log.error("no connection can be taken, trying again every second: %s", context.get("exception"))
