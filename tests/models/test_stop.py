"""Deadlines and cancelling."""

import threading
import time

from models import Stop


def test_without_a_deadline_it_is_never_time_to_stop() -> None:
    assert Stop().remaining is None
    assert not Stop().reached


def test_the_deadline_is_counted_from_now() -> None:
    stop = Stop(0.05)
    remaining = stop.remaining
    assert remaining is not None
    assert 0 < remaining <= 0.05
    assert not stop.reached
    time.sleep(0.06)

    assert stop.reached
    assert stop.remaining == 0.0
    assert not stop.cancelled


def test_cancelling_wakes_whoever_waits() -> None:
    stop, woken = Stop(), threading.Event()
    with stop.waking(woken.set):
        assert not woken.is_set()
        stop.cancel()

    assert woken.is_set()
    assert stop.reached
    assert stop.cancelled


def test_who_begins_to_wait_too_late_is_woken_at_once() -> None:
    stop, woken = Stop(), threading.Event()
    stop.cancel()
    with stop.waking(woken.set):
        assert woken.is_set()


def test_who_waits_no_more_is_not_woken() -> None:
    stop, calls = Stop(), list[str]()
    with stop.waking(lambda: calls.append("inner")):
        pass
    with stop.waking(lambda: calls.append("outer")):
        stop.cancel()

    assert calls == ["outer"]


def test_an_earlier_stop_is_cancelled_with_the_first() -> None:
    stop, woken = Stop(10), threading.Event()
    earlier, endless = stop.earlier(4), stop.without_deadline()
    assert stop.remaining is not None
    assert earlier.remaining is not None
    assert 3.9 < stop.remaining - earlier.remaining < 4.1
    assert endless.remaining is None
    assert Stop().earlier(4).remaining is None
    assert stop.earlier(11).reached
    with endless.waking(woken.set):
        earlier.cancel()

    assert woken.is_set()
    assert stop.cancelled
    assert endless.reached


def test_hurrying_ends_every_wait_but_those_without_a_deadline() -> None:
    stop = Stop(10)
    earlier, endless = stop.earlier(1), stop.without_deadline()
    woken, still, late = threading.Event(), threading.Event(), threading.Event()
    with earlier.waking(woken.set), endless.waking(still.set):
        stop.hurry()
        assert woken.is_set()
        assert not still.is_set()
        assert (stop.remaining, earlier.remaining, endless.remaining) == (0.0, 0.0, None)
        assert (stop.reached, earlier.reached, endless.reached) == (True, True, False)
        with earlier.waking(late.set):
            assert late.is_set()
        assert endless.earlier(1).remaining is None
        stop.cancel()
        assert still.is_set()


def test_hurrying_sets_a_deadline_where_there_was_none() -> None:
    stop = Stop()
    stop.hurry()
    assert stop.hurried
    assert stop.remaining == 0.0
    assert not stop.cancelled
