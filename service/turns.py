"""Turns: how many certificates are computed at once, those of few samples first.

They share the processor with the network. If all were computed at once, each would take as long as all. And
as a long one takes as long as it takes, the last slot is for short ones alone.
"""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# More samples than this make a look a long one.
SHORT = 2048


class Turns:
    """At most `slots` holders at a time, all but one of them long; those of few samples are next."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._free_for_long = max(slots - 1, 1)
        self._arrivals = 0
        self._waiting: list[tuple[int, int, threading.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def take(self, samples: int) -> Iterator[None]:
        """Hold a slot for a look at so many samples."""
        turn = threading.Event()
        with self._lock:
            self._arrivals += 1
            heapq.heappush(self._waiting, (samples, self._arrivals, turn))
            self._next()
        turn.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._free_for_long += samples > SHORT
                self._next()

    def _next(self) -> None:
        """Let in whom there is a slot for: a look at many samples takes only those for long looks."""
        while self._waiting and self._free:
            samples, _, turn = self._waiting[0]
            if samples > SHORT and not self._free_for_long:
                return  # those behind have more samples still
            heapq.heappop(self._waiting)
            self._free -= 1
            self._free_for_long -= samples > SHORT
            turn.set()
