"""From SIGTERM to the end: nothing new is taken, what runs is answered, and nothing outlasts the grace.

1. At once: /readyz and all new requests are answered with 503; the service still listens, so that whoever
   sends requests hears of it.
2. After half of the grace: queries answer with what is certified so far.
3. At its end: what still runs is cut off, with 503 if its answer has not begun.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope, CapacityLimiter, to_thread

from models import Stop
from service.errors import ShuttingDown

# Queries may go on for this share of the grace; the rest is for certifying and sending what there is.
UNHURRIED = 0.5
# How long to wait for those that are cut off: threads of other routes are waited for.
LAST_WORDS_TICKS, TICK_SECONDS = 50, 0.02

log = logging.getLogger("retrievalguard")


class Draining:
    """The requests that are under way, and how far the shutting down is. Used by the event loop alone."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._begun: float | None = None
        self._told = self._hurried = False
        self._requests: set[CancelScope] = set()
        self._stops: set[Stop] = set()
        self._thread = CapacityLimiter(1)

    @property
    def begun(self) -> bool:
        """Whether the service shuts down."""
        return self._begun is not None

    @property
    def under_way(self) -> int:
        """How many requests are under way, probes left out."""
        return len(self._requests)

    def begin(self) -> None:
        """Take nothing new; a signal handler may call it."""
        self._begun = time.monotonic()

    def refusal(self) -> ShuttingDown:
        """What a new request is told."""
        return ShuttingDown("the service is shutting down: ask another, or try again later", retry_after=5)

    @contextmanager
    def request(self) -> Iterator[CancelScope]:
        """A request under way; the scope tells afterwards whether it was cut off."""
        with CancelScope() as scope:
            self._requests.add(scope)
            try:
                yield scope
            finally:
                self._requests.discard(scope)

    @contextmanager
    def hurrying(self, stop: Stop) -> Iterator[None]:
        """Have `stop` be reached when half of the grace is over."""
        self._stops.add(stop)
        if self._hurried:
            stop.hurry()
        try:
            yield
        finally:
            self._stops.discard(stop)

    async def over(self) -> bool:
        """Do what is due by now; whether the service may end."""
        if self._begun is None:
            return False
        if not self._told:
            self._told = True
            log.info("shutting down: %d requests are under way", self.under_way)
        waited = time.monotonic() - self._begun
        if waited >= UNHURRIED * self._grace and not self._hurried:
            self._hurried = True
            stops = list(self._stops)
            await to_thread.run_sync(_hurry, stops, limiter=self._thread)  # who is woken may hold a lock
        if waited >= self._grace:
            await self.cut()
        return not self._requests

    async def cut(self) -> None:
        """End what still runs."""
        if self._requests:
            log.warning("the grace is over: %d requests are cut off", self.under_way)
        for scope in list(self._requests):
            scope.cancel()
        for _ in range(LAST_WORDS_TICKS):
            if not self._requests:
                return
            await asyncio.sleep(TICK_SECONDS)


def _hurry(stops: list[Stop]) -> None:
    for stop in stops:
        stop.hurry()
