"""The backlog: the work that is admitted, bounded by the seconds it takes. Others hear when to come back.

What a query will cost is what those of its kind cost lately: its samples, certificates and decoding, in
seconds of a core. There are three lanes, so that none fills another's: decoding, queries that take little,
and all others. Nothing here decides what is answered, only whether and when.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from models import Stop
from service.errors import Abandoned, Overloaded
from service.traffic.costs import Costs
from service.traffic.lane import MOST_PLACES, Lane

# The share of decoding: a query is decoded before it is known whether anything else has to be done for it.
DECODING_SHARE = 0.1
# What decoding takes for each byte, in seconds of a core, before any was measured: about what a PNG does.
DECODING_GUESS = 5e-8
# Those who wait for room look so often whether there is some, in seconds, should nobody wake them.
CHECK_SECONDS = 1.0
FIRST_LOOK = "first look"

# Tells that so many seconds of a core were spent.
Spend = Callable[[float], None]


@dataclass(frozen=True)
class Work:
    """What a query asks for, as far as it can be told beforehand.

    kind     what queries have in common that cost about the same
    guess    seconds of a core, if there was none of its kind yet
    who      bytes by which it is known when it comes back
    watched  whether it is looked at early, and again and again
    name     by which it is known before anything is read of it, if it is
    """

    kind: Hashable
    guess: float
    who: bytes
    watched: bool
    name: str | None = None


class _Queue:
    """A lane, and those who wait for room in it."""

    def __init__(self, seconds: float, cores: int, lock: threading.Lock) -> None:
        self.lane = Lane(seconds, cores)
        self.room = threading.Condition(lock)


class Backlog:
    """At most `seconds` of work for `cores`; `short_share` of it for queries of `short_seconds` at most.

    Safe to share between threads.
    """

    def __init__(self, seconds: float, short_share: float, short_seconds: float, cores: int) -> None:
        self._cores, self._short_seconds = cores, short_seconds
        self._lock = threading.Lock()
        self._costs = Costs()
        self._refused = OrderedDict[str, tuple[_Queue, bytes, float]]()
        self._unseen = 0  # watched queries that wait for their first look
        self._decoding, self._short, self._long = (
            _Queue(share * seconds, cores, self._lock)
            for share in (DECODING_SHARE, short_share, 1 - short_share - DECODING_SHARE)
        )

    def seconds(self) -> dict[str, float]:
        """How long what is admitted will take, by lane."""
        lanes = {"decoding": self._decoding, "short": self._short, "long": self._long}
        with self._lock:
            return {name: queue.lane.backlog for name, queue in lanes.items()}

    def until_one_leaves(self) -> float:
        """About how long it takes until one of all queries is done, in seconds."""
        with self._lock:
            lanes = [queue.lane for queue in (self._short, self._long)]
            return max(lane.backlog / max(lane.inside, 1) for lane in lanes)

    def check(self, name: str) -> None:
        """Raise `Overloaded` if work of this `name` was refused, comes before its time, and there is no room.

        For who would have to read the work to know what it is: it is told what it would be told then.
        """
        with self._lock:
            found = self._refused.get(name)
            if found is not None:
                queue, who, forecast = found
                wait = queue.lane.too_early(who, forecast)
                if wait is not None:
                    raise _full(queue, wait)

    @contextmanager
    def decoding(self, content: bytes, name: str | None = None) -> Iterator[None]:
        """Room for decoding an image file of a query of this `name`; raises `Overloaded`."""
        kind = ("decoding", len(content).bit_length())
        work = Work(kind, DECODING_GUESS * len(content), sha256(content).digest(), watched=False, name=name)
        with self._lock:
            forecast = self._costs.forecast(work.kind, work.guess)
            self._enter(self._decoding, work, forecast)
        with self._inside(self._decoding, kind, forecast) as spend:
            started = time.thread_time()  # others may be decoded at the same time
            yield
            spend(time.thread_time() - started)

    @contextmanager
    def answering(self, work: Work, stop: Stop, *, waits: bool = False) -> Iterator[Spend]:
        """Room for a query; raises `Overloaded` if there is none, or if it would have no certificate in time.

        waits  it waits for room instead, as long as `stop` lets it
        """
        with self._lock:
            forecast = self._forecast(work, stop)
            queue = self._short if forecast <= self._short_seconds * self._cores else self._long
            self._check_patience(stop)
            if waits:
                self._wait(queue, work, forecast, stop)
            else:
                self._enter(queue, work, forecast)
            self._unseen += work.watched
        with self._inside(queue, work.kind, forecast) as spend:
            unseen = work.watched

            def looked(seconds: float) -> None:
                nonlocal unseen
                spend(seconds)
                if unseen:
                    unseen = False
                    with self._lock:
                        self._unseen -= 1
                        self._costs.learn(FIRST_LOOK, seconds)

            try:
                yield looked
            finally:
                with self._lock:
                    self._unseen -= unseen

    @contextmanager
    def _inside(self, queue: _Queue, kind: Hashable, forecast: float) -> Iterator[Spend]:
        """What was admitted, until it leaves; what it cost is remembered, unless it failed."""
        spent = 0.0

        def spend(seconds: float) -> None:
            nonlocal spent
            spent += seconds

        done = False
        try:
            yield spend
            done = True
        finally:
            with self._lock:
                queue.lane.leave(forecast, spent)
                queue.room.notify()
                if done:
                    self._costs.learn(kind, spent)

    def _enter(self, queue: _Queue, work: Work, forecast: float) -> None:
        wait = queue.lane.enter(work.who, forecast)
        if wait is None:
            return
        if work.name is not None:
            self._refused[work.name] = queue, work.who, forecast
            self._refused.move_to_end(work.name)
            while len(self._refused) > MOST_PLACES:
                self._refused.popitem(last=False)
        raise _full(queue, wait)

    def _wait(self, queue: _Queue, work: Work, forecast: float, stop: Stop) -> None:
        """As `_enter`, again and again: whoever waits has a place as those have who come back."""
        while (wait := queue.lane.enter(work.who, forecast)) is not None:
            if stop.cancelled:
                raise Abandoned
            remaining = stop.remaining
            if remaining == 0.0:
                raise Overloaded(
                    "there was no room in time: try again later", retry_after=max(1, math.ceil(wait))
                )
            queue.room.wait(min(wait, CHECK_SECONDS, CHECK_SECONDS if remaining is None else remaining))
        queue.room.notify()  # there may be room for another

    def _forecast(self, work: Work, stop: Stop) -> float:
        """Seconds of a core: what ends at a deadline takes no more than all until then, and a first look."""
        forecast = self._costs.forecast(work.kind, work.guess)
        if stop.remaining is None:
            return forecast
        return min(forecast, self._cores * stop.remaining + self._costs.forecast(FIRST_LOOK))

    def _check_patience(self, stop: Stop) -> None:
        """Raises `Overloaded` if those that come first would take all the time that there is."""
        first = self._unseen * self._costs.forecast(FIRST_LOOK) / self._cores
        if stop.remaining is not None and first > stop.remaining:
            raise Overloaded(
                f"there would be no certificate before the deadline: {self._unseen} others come first, who"
                f" take {first:.1f} s; try again later, or with a larger deadline_ms",
                retry_after=max(1, math.ceil(first - stop.remaining)),
            )


def _full(queue: _Queue, wait: float) -> Overloaded:
    return Overloaded(
        f"{queue.lane.backlog:.1f} s of work are admitted already: try again later, or ask for less with"
        " max_samples",
        retry_after=max(1, math.ceil(wait)),
    )
