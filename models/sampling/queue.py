"""The queue before the network: chunks of many queries, the query that has had least first.

A query that needs few samples is served as if the long ones were not there (foreground-background scheduling,
Schrage 1967): nobody has to say beforehand how many it will need. Items for the gallery come after all
queries. One chunk in `OLDEST_EVERY` goes to the draw that came first, so that a long query, or an item,
always goes on, however many short ones come.
"""

import heapq
import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.noise import Purpose

OLDEST_EVERY = 8
CLOSED = "no samples are drawn any more: the service is shutting down"


class QueueFull(Exception):
    """More samples are promised than the queue may hold; `backlog` is how many."""

    def __init__(self, backlog: int) -> None:
        super().__init__(f"{backlog} samples are promised already")
        self.backlog = backlog


@dataclass(eq=False)
class Stream:
    """The samples of one input: its pixels (C, H, W) on the grid, and the chunks it has been served."""

    digest: bytes
    pixels: NDArray[np.float32]
    purpose: Purpose
    served: int = 0


@dataclass(eq=False)
class Draw:
    """Chunks `first` to `last` - 1 of a stream. `samples` (chunks, chunk, d) is filled, in any order."""

    stream: Stream
    first: int
    last: int
    samples: NDArray[np.float32]
    arrival: int = 0
    handed_out: int = 0
    error: BaseException | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    arrived: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.arrived = np.zeros(self.last - self.first, np.bool_)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Whose is lowest is next; no two draws in a queue have the same."""
        return self.stream.purpose == "gallery", self.stream.served, self.arrival

    @property
    def whole(self) -> int:
        """How many chunks, counted from `first`, are there without a gap."""
        gaps = np.flatnonzero(~self.arrived)
        return int(gaps[0]) if len(gaps) else len(self.arrived)

    def deliver(self, chunk: int, samples: NDArray[np.float32]) -> None:
        """Chunk number `chunk`, (chunk, d)."""
        self.samples[chunk - self.first] = samples
        self.arrived[chunk - self.first] = True
        if self.arrived.all():
            self.finished.set()

    def fail(self, error: BaseException) -> None:
        """There will be no more."""
        self.error = error
        self.finished.set()


class SampleQueue:
    """Draws that wait for the network, at most `capacity` samples promised. Shared by threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._promised = 0
        self._arrivals = 0
        self._handed_out = 0
        self._closed = False
        self._heap: list[tuple[tuple[bool, int, int], Draw]] = []
        self._changed = threading.Condition()

    def promise(self, samples: int) -> None:
        """Keep room for `samples`; raises `QueueFull`. An empty queue takes any number; 0 always fits."""
        with self._changed:
            if samples and self._promised and self._promised + samples > self._capacity:
                raise QueueFull(self._promised)
            self._promised += samples

    def release(self, samples: int) -> None:
        """Give room back."""
        with self._changed:
            self._promised -= samples

    @property
    def promised(self) -> int:
        """Samples that room is kept for."""
        return self._promised

    @property
    def waiting(self) -> int:
        """Samples that have been asked for and not been handed out yet."""
        with self._changed:
            return sum(r.samples.shape[1] * (r.last - r.first - r.handed_out) for _, r in self._heap)

    def put(self, draw: Draw) -> None:
        """Join the queue. Raises `RuntimeError` after `close`."""
        with self._changed:
            if self._closed:
                raise RuntimeError(CLOSED)
            self._arrivals += 1
            draw.arrival = self._arrivals
            heapq.heappush(self._heap, (draw.rank, draw))
            self._changed.notify_all()

    def drop(self, draw: Draw) -> None:
        """Leave the queue at once. What was handed out already still arrives."""
        with self._changed:
            self._heap = [entry for entry in self._heap if entry[1] is not draw]
            heapq.heapify(self._heap)

    def take(self, most: int) -> list[tuple[Draw, int]]:
        """Up to `most` chunks, each with its draw, as soon as there is one; none when the queue closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._heap or self._closed)
            return [] if self._closed else [self._next() for _ in range(most) if self._heap]

    def _next(self) -> tuple[Draw, int]:
        self._handed_out += 1
        if self._handed_out % OLDEST_EVERY == 0:
            position = min(range(len(self._heap)), key=lambda entry: self._heap[entry][1].arrival)
            draw = self._heap[position][1]
            self._heap[position] = self._heap[-1]
            self._heap.pop()
            heapq.heapify(self._heap)
        else:
            draw = heapq.heappop(self._heap)[1]
        chunk = draw.first + draw.handed_out
        draw.handed_out += 1
        draw.stream.served += 1
        if chunk + 1 < draw.last:
            heapq.heappush(self._heap, (draw.rank, draw))
        return draw, chunk

    def close(self) -> None:
        """Nothing is handed out any more; draws that wait fail."""
        with self._changed:
            self._closed = True
            waiting, self._heap = self._heap, []
            self._changed.notify_all()
        for _, draw in waiting:
            draw.fail(RuntimeError(CLOSED))
