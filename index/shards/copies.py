"""One shard as a coordinator sees it: its copies, of which any may answer, within a deadline."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from index.failures import ShardMissing
from index.shards.checks import check_held, check_nothing
from index.shards.messages import Answer, Array, Copy, Fetch, Hold, Keep, Lacking, Request

log = logging.getLogger("retrievalguard")

# Seconds for which a copy that failed is asked last, and between questions to one that lags.
REST, PAUSE = 5.0, 0.02
# A segment is large: so long a copy that lives may take to be given one.
HANDED_SECONDS = 60.0
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
        # What is handed over and let go, of each copy in the order in which it was said.
        self._hands = [ThreadPoolExecutor(1, f"shard-{number}-{copy}") for copy in range(len(self.copies))]

    def close(self) -> None:
        """Say nothing more."""
        for hand in self._hands:
            hand.shutdown(wait=False, cancel_futures=True)

    def ask(self, request: Request, check: Check) -> Sequence[Array]:
        """What one of the copies answers.

        A copy that fails, or answers what cannot be, is passed over; one that lacks a segment is asked again,
        as long as there is time, unless another has it. Raises `ShardMissing`: nothing is ever left out.
        """
        until = time.monotonic() + self._seconds
        reasons = dict[int, str]()
        while True:
            lacking = False
            order = self._order(request)
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

    def keep(self, needed: Callable[[], Keep]) -> list[dict[bytes, bool] | None]:
        """Whether each copy holds the marks of what is `needed` when it is told; None of one that fails."""

        def tell(copy: int) -> dict[bytes, bool] | None:
            request = needed()
            check = partial(check_held, marks=len(request.marks))
            held = self._tried(copy, request, check, self._seconds)
            return None if held is None else dict(zip(request.marks, held[0].tolist(), strict=True))

        told = [hand.submit(tell, copy) for copy, hand in enumerate(self._hands)]
        done, late = wait(told, 2 * self._seconds)
        for future in late:  # behind a segment that it does not take
            future.cancel()
        return [future.result() if future in done else None for future in told]

    def hold(self, request: Hold) -> bool:
        """Give all copies a segment, at once; whether one took it.

        One that failed lately is passed over, unless nobody else takes it, and one that is later than others
        is not waited for: each gets its own by `Shards.mend`.
        """
        ill = [copy for copy in range(len(self.copies)) if self._ill(copy)]
        well = [copy for copy in range(len(self.copies)) if copy not in ill]
        return self.give(request, well, HANDED_SECONDS) or self.give(request, ill, self._seconds)

    def give(self, request: Hold, copies: Sequence[int], seconds: float = HANDED_SECONDS) -> bool:
        """Give some of the copies a segment, within so many seconds; whether one took it.

        Those that answer nothing else meanwhile are not waited for, unless one of the others does.
        """
        late: dict[Future[Sequence[Array] | None], int] = {
            self._hands[copy].submit(self._tried, copy, request, check_nothing, seconds): copy
            for copy in copies
        }
        until = time.monotonic() + seconds
        taken = False
        while late and time.monotonic() < until:
            left = max(0.0, until - time.monotonic())
            done, _ = wait(late, min(left, self._seconds), FIRST_COMPLETED)
            if not done and not any(self._lives(copy) for copy in late.values()):
                break  # what waits for this would wait for nothing
            if not taken and any(future.result() is not None for future in done):
                taken, until = True, min(until, time.monotonic() + self._seconds)
            late = {future: copy for future, copy in late.items() if future not in done}
        for future, copy in late.items():
            future.cancel()
            self.fail(copy, TimeoutError("it is late to take a segment"))
        return taken

    def _lives(self, copy: int) -> bool:
        """Whether a copy that is late answers a question that takes no time."""
        return self._tried(copy, Fetch(marks=(), places=()), check_nothing, self._seconds) is not None

    def _tried(self, copy: int, request: Request, check: Check, seconds: float) -> Sequence[Array] | None:
        """What a copy answers; None if it fails to."""
        try:
            return self.ask_copy(copy, request, check, seconds)
        except Exception as error:  # whatever carries messages may fail as it likes
            self.fail(copy, error)
            return None

    def _ill(self, copy: int) -> bool:
        with self._lock:
            return self._failed_until[copy] > time.monotonic()

    def _order(self, request: Request) -> list[int]:
        """Copies as they are asked: one at random, and the next ones; those that failed lately last.

        At random, for in turn each copy would get the same questions of every query, and some are much more
        work. It is in the number of the request.
        """
        count = len(self.copies)
        first = int.from_bytes(request.number, "big") % count
        return sorted(((first + step) % count for step in range(count)), key=self._ill)

    def fail(self, copy: int, error: Exception) -> None:
        """Ask another first for a while."""
        with self._lock:
            known = self._failed_until[copy] > time.monotonic()
            self._failed_until[copy] = time.monotonic() + REST
        if not known:
            log.warning("copy %d of shard %d of the gallery failed: %s", copy, self.number, error)
