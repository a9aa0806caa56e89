"""Connections: how many there may be, and how long one may stay open without asking anything."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# So many more than the limit are let in when all are at work: a probe may be among them.
SPARE = 16


def bounded(most: int, idle_seconds: float) -> "Callable[..., Connection]":
    """What makes the connections of one server: never more than `most`, and a few spare ones."""
    idle: dict[Connection, None] = {}

    def connection(*args: Any, **kwargs: Any) -> Connection:
        return Connection(most, idle_seconds, idle, *args, **kwargs)

    return connection


class Connection(H11Protocol):
    """A connection that is closed when it asks nothing for `idle_seconds`, counted from when it was made or
    last answered. Bytes that are no whole request head do not count: none is held open by dripping.

    When there are more than `most`, the one that has been idle longest makes room: a new one, such as that of
    a health check, gets in. `idle` is shared by all: those that were idle, the longest first.
    """

    def __init__(
        self, most: int, idle_seconds: float, idle: "dict[Connection, None]", *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._most, self._idle_seconds, self._idle = most, idle_seconds, idle
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def at_work(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, at the cost of another if need be."""
        super().connection_made(transport)
        if len(self.connections) > self._most and not self._make_room():
            transport.abort()
            return
        self._rests()
        self._timer = self.loop.call_later(self._idle_seconds, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        """It is idle, until the next request is there."""
        self._rests()
        super().on_response_complete()

    def _rests(self) -> None:
        self._idle_since = self.loop.time()
        self._idle.pop(self, None)
        self._idle[self] = None

    def _make_room(self) -> bool:
        """Close the one that has been idle longest; if all are at work, whether there is a spare place."""
        while self._idle:
            first = next(iter(self._idle))
            del self._idle[first]
            if not first.at_work:
                first.transport.close()
                return True
        return len(self.connections) <= self._most + SPARE

    def _expire(self) -> None:
        """Close it if it has been idle for too long; else look again later."""
        left = (
            self._idle_seconds if self.at_work else self._idle_since + self._idle_seconds - self.loop.time()
        )
        if left > 0:
            self._timer = self.loop.call_later(left, self._expire)
        else:
            self.transport.close()
