"""Admission: how many queries, or changes, may be under way at once; the next one is told to come back.

A bound on threads and memory. What they may cost is bounded by the `backlog`.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Admission:
    """At most `most` holders at a time, and nobody waits.

    what     they are called in the refusal
    seconds  tells about how long it takes until one of them is done
    """

    def __init__(self, most: int, what: str = "queries", seconds: Callable[[], float] = lambda: 1.0) -> None:
        self._most, self._what, self._seconds = most, what, seconds
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of them; `Overloaded` at once if there are as many as may be."""
        with self._lock:
            if self._inside >= self._most:
                raise Overloaded(
                    f"{self._inside} {self._what} are under way already: try again later",
                    retry_after=max(1, math.ceil(self._seconds())),
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
