"""Turns: how many certificates are computed at once, those of few samples first.

They share the processor with the network. If all were computed at once, each would take as long as all. And
as a long one takes as long as it takes, the last slot is for short ones alone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from models import Stop

# More samples than this make a look a long one.
SHORT = 2048
# One turn in so many goes to who has waited longest: long looks go on, however many short ones come.
OLDEST_EVERY = 8


@dataclass(eq=False)
class _Turn:
    samples: int
    arrival: int
    come: bool = False
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def long(self) -> bool:
        return self.samples > SHORT


class Turns:
    """At most `slots` holders at a time, all but one of them long; those of few samples are next."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._free_for_long = max(slots - 1, 1)
        self._arrivals = 0
        self._given = 0
        self._waiting: list[_Turn] = []
        self._lock = threading.Lock()

    @contextmanager
    def take(self, samples: int, stop: Stop) -> Iterator[bool]:
        """Hold a slot for a look at so many samples; False if it was time to `stop` before one was free."""
        with self._lock:
            self._arrivals += 1
            turn = _Turn(samples, self._arrivals)
            self._waiting.append(turn)
            self._give()
        with stop.waking(turn.woken.set):
            turn.woken.wait(stop.remaining)
        with self._lock:
            if not turn.come:
                self._waiting.remove(turn)
        try:
            yield turn.come
        finally:
            if turn.come:
                with self._lock:
                    self._free += 1
                    self._free_for_long += turn.long
                    self._give()

    def _give(self) -> None:
        """Let in whom there is a slot for."""
        while self._free:
            able = [turn for turn in self._waiting if self._free_for_long or not turn.long]
            if not able:
                return
            self._given += 1
            first = self._given % OLDEST_EVERY == 0
            turn = min(able, key=lambda turn: (0 if first else turn.samples, turn.arrival))
            self._waiting.remove(turn)
            self._free -= 1
            self._free_for_long -= turn.long
            turn.come = True
            turn.woken.set()
