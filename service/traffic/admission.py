"""Admission: how many queries, or changes, may be under way at once; the next one is told to come back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Admission:
    """At most `most` holders at a time, and nobody waits. `what` they are called in the refusal."""

    def __init__(self, most: int, what: str = "queries") -> None:
        self._most, self._what = most, what
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of them; `Overloaded` at once if there are as many as may be."""
        with self._lock:
            if self._inside >= self._most:
                raise Overloaded(
                    f"{self._inside} {self._what} are under way already: try again later", retry_after=1
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
