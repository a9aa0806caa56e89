"""A lane: how many seconds of work may be admitted, and the places of those who were told to come back.

Work is counted in seconds of a core, as far as it can be told beforehand. How much of it the lane gets done
in a second of the clock, its pace, is measured while it is busy: so whatever else the machine does is
counted, too. Who comes while the lane is full is told to come back when there will be room, after all who
were told so before; for that time a place is kept. Whoever comes back is known by what they ask, which is the
same. So that nobody waits for those who never come back, places are worth as much as the share of them that
was taken.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

# New work is admitted up to the first share of a lane, less the places that are kept; up to the second in any
# case: the machine is not left idle for those who may never come.
NEW, ALWAYS = 0.7, 0.35
# Of the pace: over which time it is a mean, and for how long it is taken to be a second a core at first.
MEMORY_SECONDS, TRUST_SECONDS = 20.0, 2.0
# Of a core; work that gets done more slowly is told to come back too early.
SLOWEST_PACE = 0.02
# A place is kept for so many seconds after its time, and so much of the time that was waited for it.
GRACE_SECONDS, GRACE_SHARE = 1.0, 0.5
# What a place tells of whether the next one is taken.
LESSON = 1 / 32
# Times are told so many times over: coming back too early is in vain, too late does no harm.
CAUTION = 1.5
# More places are not kept, and nobody is told to wait longer.
MOST_PLACES, LONGEST_SECONDS = 10_000, 300.0


@dataclass
class _Place:
    work: float
    due: float = 0.0
    until: float = 0.0


class Lane:
    """At most `seconds` of work, and at least as many pieces of it as there are `cores`.

    Not safe to share: `Backlog` has a lock.
    """

    def __init__(self, seconds: float, cores: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._cores, self._clock = seconds, cores, clock
        self.inside = 0
        self._work = 0.0
        self._done, self._busy = cores * TRUST_SECONDS, TRUST_SECONDS
        self._uncounted = 0.0
        self._now = clock()
        self._places: dict[bytes, _Place] = {}
        self._ends: list[tuple[float, bytes]] = []
        self._kept = 0.0
        self._taken = 1.0

    @property
    def pace(self) -> float:
        """Seconds of work that are done in a second."""
        return max(self._done / self._busy, SLOWEST_PACE)

    @property
    def backlog(self) -> float:
        """Seconds until all that is admitted is done."""
        return self._work / self.pace

    def enter(self, who: bytes, work: float) -> float | None:
        """Admit a piece of `work`, in seconds of a core: then `leave` must follow. Else the seconds to wait.

        `who` is asking is known again by these bytes.
        """
        self._pass_time()
        place = self._places.get(who)
        full = self._seconds * self.pace
        if not self._has_room(work, place, full):
            return self._keep(who, place, work, full)
        if place is not None:
            self._give_up(who, taken=True)
        self.inside += 1
        self._work += work
        return None

    def too_early(self, who: bytes, work: float) -> float | None:
        """What `enter` would say to `who` has a place for later; None if there is room, or no such place."""
        self._pass_time()
        place = self._places.get(who)
        if place is None or place.due <= self._now:
            return None
        return None if self._has_room(work, place, self._seconds * self.pace) else place.due - self._now

    def leave(self, work: float, spent: float) -> None:
        """A piece of `work` that was admitted is done, or given up; it took `spent` seconds of a core."""
        self._pass_time()
        fade = math.exp(-self._uncounted / MEMORY_SECONDS)
        self._done, self._busy = fade * self._done + spent, fade * self._busy + self._uncounted
        self._uncounted = 0.0
        self.inside -= 1
        self._work = self._work - work if self.inside else 0.0

    def _has_room(self, work: float, place: _Place | None, full: float) -> bool:
        return self.inside < self._cores or self._work + work <= self._limit(full, place)

    def _limit(self, full: float, place: _Place | None) -> float:
        """Up to which sum of work whoever asks is admitted."""
        if place is not None and place.due <= self._now:
            # A promise is kept also if work took a little longer than was thought: on every core.
            return full + self._cores * place.work
        others = self._kept - (place.work if place is not None else 0.0)
        return max(NEW * full - self._taken * others, ALWAYS * full)

    def _keep(self, who: bytes, place: _Place | None, work: float, full: float) -> float:
        """When there will be room, in seconds; whoever has a place already keeps it."""
        if place is not None and place.due > self._now:
            return place.due - self._now
        others = self._taken * (self._kept - (place.work if place is not None else 0.0))
        wait = CAUTION * max(self._work + work + others - NEW * full, 0.0) / self.pace
        if place is None and len(self._places) < MOST_PLACES and wait <= LONGEST_SECONDS:
            place = _Place(work)
            self._kept += work
        if place is not None:
            place.due = self._now + wait
            place.until = place.due + GRACE_SECONDS + GRACE_SHARE * wait
            self._places[who] = place
            heappush(self._ends, (place.until, who))
        return min(wait, LONGEST_SECONDS)

    def _give_up(self, who: bytes, *, taken: bool) -> None:
        work = self._places.pop(who).work
        self._kept = self._kept - work if self._places else 0.0
        self._taken += LESSON * (taken - self._taken)

    def _pass_time(self) -> None:
        now = self._clock()
        passed, self._now = now - self._now, now
        self._uncounted += passed * min(self.inside / self._cores, 1.0)
        while self._ends and self._ends[0][0] <= now:
            until, who = heappop(self._ends)
            if who in self._places and self._places[who].until == until:
                self._give_up(who, taken=False)
