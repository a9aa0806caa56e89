"""The backlog: lanes don't fill each other, costs are learnt, patience counts, and those who wait get in."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from models import Stop
from service.errors import Abandoned, Overloaded
from service.traffic.backlog import DECODING_GUESS, Backlog, Spend, Work

CORES = 2
NEVER = Stop()
KINDS = itertools.count()


def backlog(seconds: float = 10.0) -> Backlog:
    """4.5 s for queries of up to one second, 4.5 s for others, 1 s for decoding."""
    return Backlog(seconds, 0.45, 1.0, CORES)


def work(guess: float, who: str = "", kind: str = "", *, watched: bool = False) -> Work:
    """Of a kind of its own, unless it is named: it costs what was guessed."""
    return Work(kind or next(KINDS), guess, who.encode(), watched)


def fill(held: ExitStack, line: Backlog, guess: float) -> list[Spend]:
    """Work of this guess, until no more is admitted."""
    found = []
    while True:
        try:
            found.append(held.enter_context(line.answering(work(guess, str(len(found))), NEVER)))
        except Overloaded:
            return found


def test_no_lane_fills_another_and_each_holds_its_seconds() -> None:
    line = backlog()
    with ExitStack() as held:
        longs, shorts = fill(held, line, 2.5), fill(held, line, 0.1)
        # Up to .7 of 4.5 s, of two cores; the rest is for those who come back.
        assert len(longs) == 2
        assert len(shorts) == 63
        decoded = 0
        for number in range(100):
            with suppress(Overloaded):
                held.enter_context(line.decoding(bytes(int(0.05 / DECODING_GUESS)) + bytes(number)))
                decoded += 1
        assert 26 <= decoded <= 28
        assert line.seconds() == pytest.approx({"decoding": 0.7, "short": 3.15, "long": 2.5}, rel=0.05)
        assert 0.05 <= line.until_one_leaves() <= 2.5
    assert line.seconds() == {"decoding": 0.0, "short": 0.0, "long": 0.0}


def test_a_refusal_says_when_and_whoever_comes_back_then_is_in_before_others() -> None:
    line = backlog(0.2)
    with ExitStack() as held:
        fill(held, line, 0.01)
        with (
            pytest.raises(Overloaded, match="max_samples") as refused,
            line.answering(work(0.01, "me"), NEVER),
        ):
            pass
        assert refused.value.retry_after == 1
    with ExitStack() as held:
        fill(held, line, 0.01)
        place = line._short.lane._places[b"me"]
        place.due -= 1
        held.enter_context(line.answering(work(0.01, "me"), NEVER))
        with pytest.raises(Overloaded), line.answering(work(0.01, "another"), NEVER):
            pass


def test_whoever_comes_back_too_early_is_told_so_by_name_and_nobody_else() -> None:
    line = backlog(0.2)
    mine = replace(work(0.01, "me"), name="mine")
    with ExitStack() as held:
        held.enter_context(line.answering(replace(work(0.01, "first"), name="first"), NEVER))
        fill(held, line, 0.01)
        line.check("mine")  # never came before
        with pytest.raises(Overloaded) as refused, line.answering(mine, NEVER):
            pass
        with pytest.raises(Overloaded) as early:
            line.check("mine")
        assert (early.value.retry_after, early.value.detail) == (
            refused.value.retry_after,
            refused.value.detail,
        )
        line.check("first")  # it got in
        line._short.lane._places[b"me"].due -= 1
        line.check("mine")  # it is time
        line._short.lane._places[b"me"].due += 1
    line.check("mine")  # there is room
    with line.answering(mine, NEVER):
        line.check("mine")
    assert len(line._refused) == 1


def test_names_of_the_refused_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.traffic.backlog.MOST_PLACES", 3)
    line = backlog(0.2)
    with ExitStack() as held:
        fill(held, line, 0.01)
        for name in "abcab":
            with pytest.raises(Overloaded), line.answering(replace(work(0.01, name), name=name), NEVER):
                pass
        with pytest.raises(Overloaded), line.answering(replace(work(0.01, "d"), name="d"), NEVER):
            pass
    assert list(line._refused) == ["a", "b", "d"]


def test_what_a_query_costs_is_learnt_from_those_of_its_kind() -> None:
    line = backlog()
    for _ in range(20):
        with line.answering(work(100.0, kind="mild"), NEVER) as spend:
            spend(0.05)
            spend(0.05)
    with ExitStack() as held:
        fill(held, line, 2.5)
        # Cheap enough for the lane of short ones by now.
        held.enter_context(line.answering(work(100.0, kind="mild"), NEVER))
        assert line.seconds()["short"] > 0


def test_what_ends_at_a_deadline_is_not_taken_for_more_than_all_cores_until_then() -> None:
    line = backlog()
    with line.answering(work(0.1, watched=True), NEVER) as looked:
        looked(0.05)  # a first look, which everybody is given
    with ExitStack() as held:
        for number in range(5):
            held.enter_context(line.answering(work(100.0, str(number)), Stop(0.2)))
        found = line.seconds()
        assert found["long"] == 0.0
        assert 0 < found["short"] * line._short.lane.pace <= 5 * (CORES * 0.2 + 0.05)
    with ExitStack() as held:  # what it costs is less than there is time for
        held.enter_context(line.answering(work(0.1), Stop(1000.0)))
        assert line.seconds()["short"] * line._short.lane.pace == pytest.approx(0.1)


def test_what_fails_teaches_nothing() -> None:
    line = backlog()

    def fail() -> None:
        with line.answering(work(1.0, kind="odd"), NEVER) as spend:
            spend(1000.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert line._costs.forecast("odd", 1.0) == 1.0
    assert line.seconds()["short"] == 0.0


def test_a_query_that_cannot_be_answered_in_its_patience_is_refused_at_once() -> None:
    line = backlog()
    with line.answering(work(0.1, watched=True), Stop(0.05)) as looked:
        looked(0.2)
    with ExitStack() as held:
        for number in range(10):
            looked = held.enter_context(line.answering(work(0.01, str(number), watched=True), NEVER))
        with (
            pytest.raises(Overloaded, match="before the deadline: 10 others") as refused,
            line.answering(work(0.01, "hasty", watched=True), Stop(0.5)),
        ):
            pass
        assert refused.value.retry_after == 1
        for deadline in (2.0, None):  # they have the time
            with line.answering(work(0.01, "patient", watched=True), Stop(deadline)):
                pass
        looked(0.2)
        looked(0.2)  # not its first
        assert line._unseen == 9
    assert line._unseen == 0


def test_those_who_wait_get_in_one_after_another_and_leave_when_they_must() -> None:
    line, leaving = Backlog(0.2, 0.45, 1000.0, CORES), Stop()
    with ThreadPoolExecutor(8) as pool, ExitStack() as held:
        assert len(fill(held, line, 100.0)) == CORES

        def waiting(who: str, stop: Stop) -> bool:
            with line.answering(work(0.01, who), stop, waits=True):
                return True

        found = [pool.submit(waiting, f"waiting {number}", NEVER) for number in range(6)]
        late, left = pool.submit(waiting, "late", Stop(0.05)), pool.submit(waiting, "leaving", leaving)
        with pytest.raises(Overloaded, match="in time"):
            late.result(5)
        leaving.cancel()
        with pytest.raises(Abandoned):
            left.result(5)
        assert not any(one.done() for one in found)
        held.close()
        assert all(one.result(5) for one in found)
