"""Health checks and metrics: which requests they are, and how they are answered at once, whatever goes on."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.types import Scope

from service.errors import NotReady

# No limit holds for these, and shutting down does not refuse them.
PROBES = ("/livez", "/readyz", "/metrics")
UPLOAD = "/gallery/jobs"
# How long a probe waits for a check that it began, before it takes the result of the one before, in seconds.
PATIENCE = 0.05
# A result that is older tells nothing any more, and who asks then has to wait for a new one, in seconds.
STALE, PATIENCE_WITHOUT = 30.0, 5.0

Result = TypeVar("Result")


def route_path(scope: Scope) -> str:
    """The path of a request below the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def is_probe(scope: Scope) -> bool:
    """Whether this is a health check, or a look at the metrics."""
    return route_path(scope) in PROBES


def is_upload(scope: Scope) -> bool:
    """Whether this sends an archive, which is written to the disk as it comes."""
    return scope["method"] == "POST" and route_path(scope) == UPLOAD


class Latest(Generic[Result]):
    """The latest result of `check`, which runs in a thread of its own: at most one at a time.

    Each request begins a check, unless one is under way, and waits for it no longer than `PATIENCE`; if there
    is no result that tells anything, `PATIENCE_WITHOUT`.
    """

    def __init__(self, check: Callable[[], Result]) -> None:
        self._check = check
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[Result] | None = None
        self._latest: asyncio.Task[Result] | None = None
        self._begun = self._latest_begun = 0.0

    async def refresh(self, patience: float = PATIENCE) -> None:
        """Begin a check, and wait for it so many seconds; how it ends is told by `get`."""
        if self._running is None:
            self._begun = asyncio.get_running_loop().time()
            self._running = asyncio.create_task(to_thread.run_sync(self._check, limiter=self._thread))
            self._running.add_done_callback(self._ended)
        await asyncio.wait({self._running}, timeout=patience)

    async def get(self) -> Result:
        """The latest result; raises what the check raised, or `NotReady` if none has ended for `STALE`."""
        await self.refresh(PATIENCE_WITHOUT if self._recent() is None else PATIENCE)
        recent = self._recent()
        if recent is None:
            raise NotReady("the latest check has not ended yet: the service is overloaded", retry_after=1)
        return recent.result()

    def _recent(self) -> "asyncio.Task[Result] | None":
        age = asyncio.get_running_loop().time() - self._latest_begun
        return self._latest if age <= STALE else None

    def _ended(self, check: "asyncio.Task[Result]") -> None:
        self._running = None
        if not check.cancelled():
            check.exception()  # noted: perhaps nobody asks for it
            self._latest, self._latest_begun = check, self._begun
