"""When to stop waiting: at a deadline, when time is up for all, or when nobody wants the result any more."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """A deadline, `seconds` from now (None: never), and `cancel` and `hurry`, for other threads to call."""

    def __init__(self, seconds: float | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._patient = False
        self._source = _Source()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more."""
        return self._source.cancelled

    @property
    def hurried(self) -> bool:
        """Whether somebody called `hurry`."""
        return self._source.hurried

    def earlier(self, seconds: float) -> "Stop":
        """The same, with a deadline that is so much earlier, if there is one."""
        return self._with(None if self._deadline is None else self._deadline - seconds, self._patient)

    def without_deadline(self) -> "Stop":
        """The same, with no deadline; `hurry` does not concern it either."""
        return self._with(None, patient=True)

    def _with(self, deadline: float | None, patient: bool) -> "Stop":
        stop = Stop()
        stop._deadline, stop._patient, stop._source = deadline, patient, self._source
        return stop

    def cancel(self) -> None:
        """Nobody wants the result any more: wakes whoever waits for it."""
        self._source.cancel()

    def hurry(self) -> None:
        """The deadline is now: wakes whoever waits."""
        self._source.hurry()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        if self.hurried and not self._patient:
            return 0.0
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    @property
    def reached(self) -> bool:
        """Whether it is time to stop."""
        return self.cancelled or self.remaining == 0.0

    @contextmanager
    def waking(self, call: Callable[[], None]) -> Iterator[None]:
        """`call` is called, from another thread, if `cancel` or `hurry` is; at once if it was."""
        self._source.add(call, self._patient)
        try:
            yield
        finally:
            self._source.remove(call, self._patient)


class _Source:
    """What all stops that are cancelled and hurried together share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: list[tuple[Callable[[], None], bool]] = []
        self.cancelled = self.hurried = False

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            wake = [call for call, _ in self._wake]
        for call in wake:
            call()

    def hurry(self) -> None:
        with self._lock:
            self.hurried = True
            wake = [call for call, patient in self._wake if not patient]
        for call in wake:
            call()

    def add(self, call: Callable[[], None], patient: bool) -> None:
        with self._lock:
            self._wake.append((call, patient))
            late = self.cancelled or (self.hurried and not patient)
        if late:
            call()

    def remove(self, call: Callable[[], None], patient: bool) -> None:
        with self._lock:
            self._wake.remove((call, patient))
