"""When a request is sent again: refused for now, or cut off where that does no harm."""

import random
import time

import httpx

from retrievalguard.client.refusals import NoConnection, NotNow

# Before the second try, where the service does not say; doubled for each one after, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0


class Patience:
    """The tries of one request, which end `seconds` after the first began."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._pause = FIRST_PAUSE

    def pause(self, error: NotNow | httpx.TransportError, *, repeatable: bool) -> float:
        """Seconds to wait before the next try; raises the error if there is to be none.

        `Retry-After` is honoured: if there is no time left for it, it is left to the caller. What is
        `repeatable` may be sent again though it was sent.
        """
        if isinstance(error, NotNow):
            wait = error.retry_after
        else:
            wait, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        # So that clients that were refused together don't come back together.
        wait *= 1 + random.random() / 4  # noqa: S311
        unsent = isinstance(error, NotNow | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if (unsent or repeatable) and time.monotonic() + wait < self._end:
            return wait
        raise _told(error) from error


def _told(error: NotNow | httpx.TransportError) -> NotNow | NoConnection:
    if isinstance(error, NotNow):
        return error
    return NoConnection(f"no answer from the service: {error or type(error).__name__}")
