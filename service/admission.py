"""Admission: how many queries compute at once, how many may wait, and when the others should come back."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Admission:
    """At most `concurrency` holders at a time and `max_waiting` threads in line."""

    def __init__(self, concurrency: int, max_waiting: int) -> None:
        self._slots = threading.Semaphore(concurrency)
        self._lock = threading.Lock()
        self._concurrency = concurrency
        self._max_waiting = max_waiting
        self._waiting = 0
        self._seconds = 0.1  # running mean of how long a holder stays

    @contextmanager
    def enter(self) -> Iterator[float]:
        """Hold a slot; yields the seconds waited. `Overloaded` at once if the line is full."""
        asked = time.perf_counter()
        if not self._slots.acquire(blocking=False):
            with self._lock:
                if self._waiting >= self._max_waiting:
                    backlog = (self._waiting + self._concurrency) * self._seconds / self._concurrency
                    raise Overloaded(
                        f"{self._waiting} queries are waiting already: try again later",
                        max(1, round(backlog)),
                    )
                self._waiting += 1
            try:
                self._slots.acquire()
            finally:
                with self._lock:
                    self._waiting -= 1
        started = time.perf_counter()
        try:
            yield started - asked
        finally:
            self._slots.release()
            with self._lock:
                self._seconds += 0.1 * (time.perf_counter() - started - self._seconds)
