"""When to stop waiting: at a deadline, or when nobody wants the result any more."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """A deadline, `seconds` from now (None: never), and a `cancel` that another thread may call."""

    def __init__(self, seconds: float | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._source = _Source()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more."""
        return self._source.cancelled

    def earlier(self, seconds: float) -> "Stop":
        """The same, with a deadline that is so much earlier, if there is one."""
        return self._with(None if self._deadline is None else self._deadline - seconds)

    def without_deadline(self) -> "Stop":
        """The same, with no deadline."""
        return self._with(None)

    def _with(self, deadline: float | None) -> "Stop":
        stop = Stop()
        stop._deadline, stop._source = deadline, self._source
        return stop

    def cancel(self) -> None:
        """Nobody wants the result any more: wakes whoever waits for it."""
        self._source.cancel()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    @property
    def reached(self) -> bool:
        """Whether it is time to stop."""
        return self.cancelled or self.remaining == 0.0

    @contextmanager
    def waking(self, call: Callable[[], None]) -> Iterator[None]:
        """`call` is called, from another thread, if `cancel` is; at once if it was."""
        self._source.add(call)
        try:
            yield
        finally:
            self._source.remove(call)


class _Source:
    """What all stops that are cancelled together share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            wake = list(self._wake)
        for call in wake:
            call()

    def add(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._wake.append(call)
            late = self.cancelled
        if late:
            call()

    def remove(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._wake.remove(call)
