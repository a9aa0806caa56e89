"""A lane under any load: no more is admitted than it may hold, it is never idle, and promises are kept."""

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field

import pytest

from service.traffic.lane import LONGEST_SECONDS, MOST_PLACES, Lane

CORES, SECONDS = 2, 4.5
COST = 0.04  # of a piece of work, in seconds of a core


class Clock:
    """Time that a test passes by itself."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lane_of(clock: Clock, seconds: float = SECONDS) -> Lane:
    return Lane(seconds, CORES, clock)


@dataclass
class Day:
    """What became of a load: pieces that came at a constant rate, and cores that do them one after another.

    over       times the rate at which they can be done
    returning  the share of those who were refused that come back when they were told to, up to two times
    slow       times as long as work should take, as the rest of the machine is busy
    """

    over: float
    returning: float
    seconds: float = 40.0
    slow: float = 1.0
    spread: float = 0.5
    done: int = 0
    refused: int = 0
    kept: int = 0
    broken: int = 0
    longest: float = 0.0
    told: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance, clock = random.Random(1), Clock()
        lane, numbers = lane_of(clock), itertools.count()
        start, rate = clock.now, self.over * CORES / (COST * self.slow)
        events = [(start + n / rate, next(numbers), n, 0) for n in range(int(self.seconds * rate))]
        queue: list[float] = []
        free = CORES
        while events:
            clock.now, _, piece, tries = heapq.heappop(events)
            if piece < 0:
                lane.leave(COST, COST)
                free += 1
                self.done += self.seconds / 4 < clock.now - start < self.seconds
            elif (wait := lane.enter(str(piece).encode(), COST)) is None:
                queue.append(clock.now)
                self.kept += tries == 1
            else:
                self.refused += not tries
                self.broken += tries == 1
                self.told.append(math.ceil(wait))
                if tries < 2 and chance.random() < self.returning:
                    heapq.heappush(
                        events, (clock.now + max(1, math.ceil(wait)), next(numbers), piece, tries + 1)
                    )
            while queue and free:
                free -= 1
                takes = COST * self.slow * chance.uniform(1 - self.spread, 1 + self.spread)
                self.longest = max(self.longest, clock.now + takes - queue.pop(0))
                heapq.heappush(events, (clock.now + takes, next(numbers), -1, 0))

    @property
    def goodput(self) -> float:
        """Over what can be done."""
        return self.done * COST * self.slow / CORES / (0.75 * self.seconds)


def test_nobody_is_refused_below_capacity() -> None:
    for slow in (0.5, 1, 2):
        day = Day(over=0.9, returning=1, slow=slow)
        assert (day.refused, day.broken) == (0, 0)


@pytest.mark.parametrize("returning", [0, 0.5, 1])
@pytest.mark.parametrize("over", [1.5, 3])
@pytest.mark.parametrize("slow", [0.5, 1, 2])
def test_above_it_all_cores_work_and_who_comes_back_gets_in(
    over: float, returning: float, slow: float
) -> None:
    day = Day(over, returning, slow=slow)
    assert day.refused
    assert day.goodput >= 0.95
    # Twice the seconds until its pace is known, if it is half of what was thought at first.
    assert day.longest <= SECONDS * max(slow, 1) + 0.2
    assert day.kept >= 0.9 * (day.kept + day.broken)


def test_whoever_does_not_come_back_makes_nobody_wait_longer() -> None:
    assert max(Day(over=3, returning=0).told[-100:]) <= 2
    assert max(Day(over=3, returning=1).told) > 20


def test_as_many_as_there_are_cores_may_always_work() -> None:
    lane = lane_of(Clock())
    assert [lane.enter(bytes([n]), 1000.0) for n in range(CORES)] == [None] * CORES
    assert lane.enter(b"another", 0.001) is not None


def test_no_more_is_kept_in_mind_than_may_be_and_none_of_it_for_ever() -> None:
    clock = Clock()
    lane = lane_of(clock)
    for n in range(CORES):
        lane.enter(bytes([n]), 100.0)
    told = [lane.enter(n.to_bytes(4, "big"), 0.01) for n in range(2 * MOST_PLACES)]
    assert len(lane._places) <= MOST_PLACES
    assert all(wait is not None and 0 < wait <= LONGEST_SECONDS for wait in told)
    # Asked again too early, it is told when, and has one place.
    first = told[0]
    assert first is not None
    clock.now += first / 2
    assert lane.enter((0).to_bytes(4, "big"), 0.01) == pytest.approx(first / 2)
    clock.now += 2 * LONGEST_SECONDS
    lane.leave(100.0, 100.0)
    assert lane._places == {}
    assert lane._kept == 0.0


def test_the_pace_is_the_work_that_gets_done_in_a_second() -> None:
    clock = Clock()
    lane = lane_of(clock)
    assert lane.pace == CORES
    for n in range(300):
        for core in range(CORES):
            lane.enter(bytes([n % 256, core]), 1.0)
        clock.now += 4.0
        for _ in range(CORES):
            lane.leave(1.0, 1.0)
    assert lane.pace == pytest.approx(CORES / 4, rel=0.05)
    for n in range(300):  # one at a time: as fast for each
        lane.enter(bytes([n % 256]), 1.0)
        clock.now += 4.0
        lane.leave(1.0, 1.0)
        clock.now += 100.0  # nothing to do is not slow
    assert lane.pace == pytest.approx(CORES / 4, rel=0.05)
    assert lane.backlog == 0.0
