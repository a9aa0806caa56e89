"""What the log tells of a server that fails us: every change, and no more than a line or two a minute."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("retrievalguard")

# The least time between two lines that say that something fails.
QUIET_SECONDS = 60.0


class Outage:
    """Whether one thing works, as the log tells it. Safe to use from any thread.

    `failing` and `working` are the lines to log; the first has a place for the reason. A failure is told at
    once, the end of one that was told too; what comes and goes within `quiet` seconds is counted, and told
    with the next line.
    """

    def __init__(
        self,
        failing: str,
        working: str,
        *,
        quiet: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failing = failing
        self._working = working
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0  # since it was last told that all is well
        self._since = 0.0  # the first of these
        self._told_at: float | None = None
        self._told = False  # whether the log says that it fails

    def failed(self, reason: str) -> None:
        """It did not work, for this `reason`, which must hold no secret."""
        with self._lock:
            now = self._clock()
            if not self._failures:
                self._since = now
            self._failures += 1
            if self._told_at is not None and now - self._told_at < self._quiet:
                return
            self._told_at, self._told = now, True
            count, seconds = self._failures, now - self._since
        so_far = "" if count == 1 else f" ({count} failures in {seconds:.0f} s)"
        log.warning(self._failing + "%s", reason, so_far)

    def worked(self) -> None:
        """It worked."""
        if not self._told:  # the common case, without the lock
            return
        with self._lock:
            if not self._told:
                return
            count, seconds = self._failures, self._clock() - self._since
            self._failures, self._told = 0, False
        log.info(self._working + ", after %d failure%s in %.0f s", count, "s" * (count > 1), seconds)
