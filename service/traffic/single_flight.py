"""Single flight: what is asked for many times at once is worked out once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

# How often one that waits looks whether it still wants to, in seconds.
CHECK_SECONDS = 0.02


@dataclass
class _Flight(Generic[Value]):
    """Work in progress, for so many `users`; it has landed with a value (one in `values`) or an `error`."""

    changed: threading.Condition
    users: int = 0
    led: bool = False
    values: tuple[Value, ...] = ()
    error: Exception | None = None

    @property
    def landed(self) -> bool:
        return bool(self.values) or self.error is not None


class SingleFlight(Generic[Key, Value]):
    """Threads that ask for equal keys at the same time share one piece of work. Nothing is kept after it.

    `abandoned`: errors that say that the one who worked gave up for reasons of its own. One of the others
    then starts again; every other error is everyone's, as a value is.
    """

    def __init__(self, abandoned: type[Exception] | tuple[type[Exception], ...] = ()) -> None:
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._flights: dict[Key, _Flight[Value]] = {}

    def do(self, key: Key, work: Callable[[], Value], check: Callable[[], None] = lambda: None) -> Value:
        """The value of `work`, done here or by the thread that is at it.

        While another works, `check` is called every `CHECK_SECONDS`, and before its work is taken over; what
        it raises ends the wait. It is not called while this thread works itself.
        """
        with self._lock:
            flight = self._flights.setdefault(key, _Flight(threading.Condition(self._lock)))
            flight.users += 1
        try:
            if self._leads(flight, check):
                self._lead(key, flight, work)
            if flight.error is not None:
                raise flight.error
            return flight.values[0]
        finally:
            with self._lock:
                flight.users -= 1
                if not flight.users:
                    self._remove(key, flight)

    def _leads(self, flight: _Flight[Value], check: Callable[[], None]) -> bool:
        """Wait until `flight` has landed, or is this thread's to lead."""
        while True:
            with self._lock:
                if not flight.led:
                    flight.led = True
                    return True
                if flight.landed or (flight.changed.wait(CHECK_SECONDS) and flight.landed):
                    return False
            check()

    def _lead(self, key: Key, flight: _Flight[Value], work: Callable[[], Value]) -> None:
        try:
            flight.values = (work(),)
        except self._abandoned:
            raise
        except Exception as error:
            flight.error = error
        finally:  # also when the thread is told to stop: nothing came of it then
            with self._lock:
                if flight.landed:
                    self._remove(key, flight)
                flight.led = flight.landed
                flight.changed.notify_all()

    def _remove(self, key: Key, flight: _Flight[Value]) -> None:
        """Whoever asks from now on starts anew."""
        if self._flights.get(key) is flight:
            del self._flights[key]
