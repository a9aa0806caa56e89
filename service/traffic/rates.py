"""How much a key may use in a minute: requests, and samples that had to be drawn.

Time is cut into minutes, the same for all replicas; what was used in this one is counted where all of them
see it, or, without Redis or while it does not answer, by each replica for itself.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import RateLimited

WINDOW_SECONDS = 60

# Adds an amount to the count of a name, which is forgotten after so many seconds, and gives the new count;
# None if it cannot be reached.
Count = Callable[[str, int, int], int | None]


@dataclass(frozen=True)
class Standing:
    """What a limit leaves: `limit` in a window, `left` of it, and `seconds` until the next window."""

    limit: int
    left: int
    seconds: int


class Rates:
    """Counts of this minute by name; `shared` is asked first. Safe to share between threads."""

    def __init__(self, shared: Count | None = None, clock: Callable[[], float] = time.time) -> None:
        self._shared, self._clock = shared, clock
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}

    def add(self, name: str, amount: int, limit: int) -> Standing:
        """Count `amount` for `name`, also above the limit: whoever goes on asking waits no longer for it."""
        now = self._clock()
        window = int(now // WINDOW_SECONDS)
        shared = f"retrievalguard:rate:{name}:{window}"
        count = self._shared and self._shared(shared, amount, 2 * WINDOW_SECONDS)
        if count is None:
            count = self._own(name, window, amount)
        seconds = max(1, -int(-((window + 1) * WINDOW_SECONDS - now) // 1))
        return Standing(limit, limit - count, seconds)

    @contextmanager
    def reserved(self, name: str, most: int, limit: int | None) -> Iterator[Callable[[int], None]]:
        """Room for `most` samples; what is called with those that were drawn, and gives the others back.

        Raises `RateLimited` if the limit leaves less.
        """
        used = 0

        def tell(drawn: int) -> None:
            nonlocal used
            used = min(drawn, most)

        if limit is None or not most:
            yield tell
            return
        standing = self.add(name, most, limit)
        if standing.left < 0:
            self.add(name, -most, limit)
            raise RateLimited(
                f"this key may have {limit} samples drawn in a minute, and {max(standing.left + most, 0)} of"
                f" them are left: ask for fewer with max_samples, or in {standing.seconds} s",
                retry_after=standing.seconds,
            )
        try:
            yield tell
        finally:
            self.add(name, used - most, limit)

    def _own(self, name: str, window: int, amount: int) -> int:
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            self._counts[name] = count = self._counts.get(name, 0) + amount
            return count
