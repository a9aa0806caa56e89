"""Turns: how many certificates are computed at once, those of few samples first.

They share the processor with the network. If all were computed at once, each would take as long as all.
"""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """At most `slots` holders at a time; of those that wait, the one of lowest rank is next."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._arrivals = 0
        self._waiting: list[tuple[int, int, threading.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def take(self, rank: int) -> Iterator[None]:
        """Hold a slot."""
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._arrivals += 1
                heapq.heappush(self._waiting, (rank, self._arrivals, turn))
        turn.wait()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    heapq.heappop(self._waiting)[2].set()
                else:
                    self._free += 1
