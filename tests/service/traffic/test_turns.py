"""Turns: as many at once as there are slots, those of lowest rank first, and none is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from models import Stop
from service.traffic.turns import OLDEST_EVERY, SHORT, Turns
from tests.service.processes import wait_for


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_as_many_are_inside_at_once_as_there_are_slots_and_never_more(slots: int) -> None:
    turns, lock = Turns(slots), threading.Lock()
    full = threading.Barrier(slots)
    inside, most = 0, 0

    def one(rank: int) -> None:
        nonlocal inside, most
        with turns.take(rank, Stop()):
            with lock:
                inside += 1
                most = max(most, inside)
            full.wait(10)  # none leaves before all slots are taken
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8 * slots) as pool:
        list(pool.map(one, range(8 * slots)))
    assert (inside, most) == (0, slots)


def test_of_those_that_wait_the_lowest_rank_is_next_and_the_first_among_equals() -> None:
    turns, order = Turns(1), list[tuple[int, int]]()
    arrivals = [(700, 0), (256, 0), (700, 1), (128, 0), (256, 1), (10**6, 0), (128, 1)]

    def queued(number: int) -> bool:
        return len(turns._waiting) == number

    def one(rank: int, number: int) -> None:
        with turns.take(rank, Stop()):
            order.append((rank, number))

    with ThreadPoolExecutor(len(arrivals)) as pool, turns.take(5000, Stop()):
        for waiting, arrival in enumerate(arrivals, 1):
            pool.submit(one, *arrival)
            wait_for(partial(queued, waiting))
        assert order == []
    assert order == sorted(arrivals)


@pytest.mark.parametrize("slots", [2, 3])
def test_one_slot_is_for_short_looks_alone(slots: int) -> None:
    turns, inside = Turns(slots), list[int]()

    def long() -> None:
        with turns.take(SHORT + 1, Stop()):
            inside.append(SHORT + 1)

    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as held:
            for _ in range(slots - 1):
                held.enter_context(turns.take(SHORT + 1, Stop()))
            waiting = pool.submit(long)
            wait_for(lambda: turns._waiting)
            for _ in range(3):
                with turns.take(SHORT, Stop()):
                    assert inside == []
            assert not waiting.done()
        waiting.result(10)
    assert inside == [SHORT + 1]


def test_an_only_slot_is_for_all() -> None:
    turns = Turns(1)
    for samples in (SHORT + 1, SHORT, SHORT + 1):
        with turns.take(samples, Stop()):
            assert turns._free == 0


def test_a_slot_is_given_back_when_its_holder_fails() -> None:
    turns = Turns(2)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), turns.take(1, Stop()):
            raise ZeroDivisionError
    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        held.enter_context(turns.take(1, Stop()))
        held.enter_context(turns.take(1, Stop()))  # both are there

        def third() -> None:
            with turns.take(1, Stop()):
                raise ZeroDivisionError

        waiting = pool.submit(third)
        wait_for(lambda: turns._waiting)
        assert not waiting.done()
        held.close()
        with pytest.raises(ZeroDivisionError):
            waiting.result(10)
    with turns.take(1, Stop()), turns.take(1, Stop()):
        assert turns._free == 0
    assert turns._free == 2


def test_who_stops_waiting_holds_no_slot_and_takes_none_later() -> None:
    turns, leaving = Turns(1), Stop()
    with ThreadPoolExecutor(1) as pool:

        def leave() -> bool:
            with turns.take(1, leaving) as mine:
                return mine

        with turns.take(1, Stop()):
            with turns.take(1, Stop(0.05)) as mine:
                assert not mine
            waiting = pool.submit(leave)
            wait_for(lambda: turns._waiting)
            leaving.cancel()
            assert not waiting.result(10)
            assert not turns._waiting
        assert turns._free == 1
        with turns.take(1, Stop()) as mine:
            assert mine


def test_a_long_look_has_its_turn_however_many_short_ones_come() -> None:
    turns, order = Turns(1), list[int]()

    def one(samples: int) -> None:
        with turns.take(samples, Stop()):
            order.append(samples)

    with ThreadPoolExecutor(30) as pool, turns.take(1, Stop()):
        pool.submit(one, SHORT + 1)
        wait_for(lambda: turns._waiting)
        for number in range(25):
            pool.submit(one, 1)
            wait_for(partial(lambda count: len(turns._waiting) == count, number + 2))
    assert order.index(SHORT + 1) < OLDEST_EVERY
