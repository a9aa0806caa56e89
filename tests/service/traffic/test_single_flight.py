"""Single flight, with real threads: one piece of work for many, and what happens when it comes to nothing."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from service.traffic.single_flight import CHECK_SECONDS, SingleFlight


class GaveUp(Exception):
    """The one who worked was called away."""


class Broken(Exception):
    """The work itself cannot be done."""


class Left(Exception):
    """One who waited no longer wants to."""


Flights = SingleFlight[str, object]


@pytest.fixture
def flights() -> Flights:
    return SingleFlight(abandoned=GaveUp)


class Crowd:
    """Threads that ask at the same time; work begins when told to, once all others wait."""

    def __init__(self, flights: Flights, size: int) -> None:
        self.flights = flights
        self.go = threading.Event()
        self.runs = 0
        self.waiting = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(size)
        self._size = size

    def ask(self, work: Callable[[int], object], key: str = "key") -> "list[Future[object]]":
        """All threads ask; `work` is given how many began it before."""

        def begin() -> object:
            with self._lock:
                self.runs += 1
                number = self.runs - 1
            assert self.go.wait(10)
            return work(number)

        def checked(first: list[bool]) -> Callable[[], None]:
            def check() -> None:
                if first:
                    first.clear()
                    with self._lock:
                        self.waiting += 1

            return check

        def do() -> object:
            return self.flights.do(key, begin, checked([True]))

        asked = [self._pool.submit(do) for _ in range(self._size)]
        deadline = time.monotonic() + 10
        while self.waiting < self._size - 1:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return asked

    def let_go(self) -> None:
        self.go.set()
        self._pool.shutdown()


def nothing_left(flights: Flights) -> bool:
    return not flights._flights


def test_a_hundred_equal_questions_are_worked_on_once_and_share_the_value(flights: Flights) -> None:
    crowd = Crowd(flights, 100)
    asked = crowd.ask(lambda number: object())
    crowd.let_go()
    assert crowd.runs == 1
    assert len({id(future.result()) for future in asked}) == 1
    assert nothing_left(flights)


def test_a_value_of_none_is_a_value(flights: Flights) -> None:
    crowd = Crowd(flights, 5)
    asked = crowd.ask(lambda number: None)
    crowd.let_go()
    assert [future.result() for future in asked] == [None] * 5
    assert crowd.runs == 1


def test_other_questions_are_worked_on_at_the_same_time(flights: Flights) -> None:
    together = threading.Barrier(8)  # breaks unless all eight are at work at once
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(flights.do, str(key), lambda: together.wait(10)) for key in range(8)]
    assert sorted(future.result() for future in asked) == list(range(8))  # type: ignore[type-var]


def test_one_takes_over_from_each_that_gave_up_and_the_others_share_its_value(flights: Flights) -> None:
    def work(number: int) -> object:
        if number < 3:
            raise GaveUp
        return object()

    crowd = Crowd(flights, 20)
    asked = crowd.ask(work)
    crowd.let_go()
    assert crowd.runs == 4
    errors = [future.exception() for future in asked]
    assert [type(error) for error in errors if error is not None] == [GaveUp] * 3
    assert len({id(future.result()) for future in asked if future.exception() is None}) == 1
    assert nothing_left(flights)


def test_any_other_error_is_shared(flights: Flights) -> None:
    def work(number: int) -> object:
        raise Broken

    crowd = Crowd(flights, 20)
    asked = crowd.ask(work)
    crowd.let_go()
    assert crowd.runs == 1
    assert {type(future.exception()) for future in asked} == {Broken}
    assert nothing_left(flights)


def test_one_that_is_stopped_leaves_the_work_to_another(flights: Flights) -> None:
    def work(number: int) -> object:
        if number == 0:
            raise SystemExit
        return "done"

    crowd = Crowd(flights, 5)
    asked = crowd.ask(work)
    crowd.let_go()
    assert crowd.runs == 2
    assert [type(future.exception()) for future in asked].count(SystemExit) == 1
    assert [future.result() for future in asked if future.exception() is None] == ["done"] * 4
    assert nothing_left(flights)


def test_one_that_waits_can_leave_and_the_work_goes_on(flights: Flights) -> None:
    working, leave = threading.Event(), threading.Event()

    def work() -> object:
        working.set()
        assert leave.wait(10)
        return "done"

    def check() -> None:
        raise Left

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.do, "key", work)
        assert working.wait(10)
        started = time.monotonic()
        with pytest.raises(Left):
            flights.do("key", work, check)
        assert time.monotonic() - started < 20 * CHECK_SECONDS
        leave.set()
        assert first.result() == "done"


def test_one_that_no_longer_wants_to_does_not_take_over(flights: Flights) -> None:
    working, gone = threading.Event(), threading.Event()

    def give_up() -> object:
        working.set()
        assert gone.wait(10)
        raise GaveUp

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.do, "key", give_up)

        def check() -> None:
            gone.set()
            assert type(first.exception(10)) is GaveUp
            raise Left

        assert working.wait(10)
        with pytest.raises(Left):
            flights.do("key", lambda: pytest.fail("it took over"), check)
    assert nothing_left(flights)


def test_nothing_is_kept_the_next_question_is_worked_on_anew(flights: Flights) -> None:
    class Value:
        pass

    value = flights.do("key", Value)
    kept = weakref.ref(value)
    del value
    gc.collect()
    assert kept() is None
    with pytest.raises(Broken):
        flights.do("key", fail)
    assert flights.do("key", lambda: "anew") == "anew"
    assert nothing_left(flights)


def fail() -> object:
    raise Broken
