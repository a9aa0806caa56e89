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
        return self._add(name, amount, limit)[0]

    @contextmanager
    def reserved(self, name: str, most: int, limit: int | None, drawn: Callable[[], int]) -> Iterator[None]:
        """Room for `most` samples; at the end those that were not `drawn` are given back.

        Raises `RateLimited` if the limit leaves less.
        """
        if limit is None or not most:
            yield
            return
        standing, give_back = self._add(name, most, limit)
        if standing.left < 0:
            give_back(most)
            raise RateLimited(
                f"this key may have {limit} samples drawn in a minute, and {max(standing.left + most, 0)} of"
                f" them are left: ask for fewer with max_samples, or in {standing.seconds} s",
                retry_after=standing.seconds,
            )
        try:
            yield
        finally:
            give_back(max(most - drawn(), 0))

    def _add(self, name: str, amount: int, limit: int) -> tuple[Standing, Callable[[int], None]]:
        """How the limit stands, and what gives back: where it was taken, while the minute lasts, or not."""
        now = self._clock()
        window = int(now // WINDOW_SECONDS)
        everybody, shared = f"retrievalguard:rate:{name}:{window}", self._shared
        count = shared and shared(everybody, amount, 2 * WINDOW_SECONDS)
        together = count is not None
        if count is None:
            count = self._own(name, window, amount)

        def give_back(rest: int) -> None:
            if int(self._clock() // WINDOW_SECONDS) != window:
                return
            if shared and together:
                shared(everybody, -rest, 2 * WINDOW_SECONDS)
            else:
                self._own(name, window, -rest)

        seconds = max(1, -int(-((window + 1) * WINDOW_SECONDS - now) // 1))
        return Standing(limit, limit - count, seconds), give_back

    def _own(self, name: str, window: int, amount: int) -> int:
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            self._counts[name] = count = self._counts.get(name, 0) + amount
            return count
