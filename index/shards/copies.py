"""One shard as a coordinator sees it: its copies, of which any may answer, within a deadline."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from index.failures import ShardMissing
from index.shards.messages import Answer, Array, Copy, Lacking, Request

log = logging.getLogger("retrievalguard")

# Seconds for which a copy that failed is asked last, and between questions to one that lags.
REST, PAUSE = 5.0, 0.02
# What an answer has to be for its arrays to be used; raises `ValueError`.
Check = Callable[[Sequence[Array]], None]


class Copies:
    """The copies of shard `number`. Threads may share it.

    `seconds`: how long a question may take with all copies together.
    """

    def __init__(self, number: int, copies: Sequence[Copy], seconds: float) -> None:
        self.number, self.copies, self._seconds = number, tuple(copies), seconds
        self._lock = threading.Lock()
        self._failed_until = [0.0] * len(self.copies)

    def ask(self, request: Request, check: Check) -> Sequence[Array]:
        """What one of the copies answers.

        A copy that fails, or answers what cannot be, is passed over; one that lacks a segment is asked again,
        as long as there is time, unless another has it. Raises `ShardMissing`: nothing is ever left out.
        """
        until = time.monotonic() + self._seconds
        reasons = dict[int, str]()
        while True:
            lacking = False
            order = self._order()
            for at, copy in enumerate(order):
                left = (until - time.monotonic()) / (len(order) - at)
                if left <= 0:
                    break
                try:
                    return self.ask_copy(copy, request, check, left)
                except Lacking as error:
                    lacking = True
                    reasons[copy] = str(error)
                except Exception as error:  # whatever carries messages may fail as it likes
                    self.fail(copy, error)
                    reasons[copy] = " ".join(str(error).split()) or type(error).__name__
            if not lacking or time.monotonic() + PAUSE > until:
                raise ShardMissing(self.number, list(reasons.values()))
            time.sleep(PAUSE)

    def ask_copy(self, copy: int, request: Request, check: Check, seconds: float) -> Sequence[Array]:
        """What one copy answers; raises what it raises, and `ValueError` on what is no answer."""
        answer = self.copies[copy](request, seconds)
        if not isinstance(answer, Answer) or answer.of != request.digest or not answer.sound:
            raise ValueError("a copy of a shard answered another question, or its answer was damaged")
        check(answer.arrays)
        return answer.arrays

    def _order(self) -> list[int]:
        """Copies, those that failed lately last."""
        now = time.monotonic()
        with self._lock:
            return sorted(range(len(self.copies)), key=lambda copy: self._failed_until[copy] > now)

    def fail(self, copy: int, error: Exception) -> None:
        """Ask another first for a while."""
        with self._lock:
            known = self._failed_until[copy] > time.monotonic()
            self._failed_until[copy] = time.monotonic() + REST
        if not known:
            log.warning("copy %d of shard %d of the gallery failed: %s", copy, self.number, error)
