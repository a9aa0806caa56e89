"""The queue before the network: chunks of many queries, those that need few first, long ones one by one.

Until a query has had `FOREGROUND` samples, who has had least is next: one that needs few samples is served as
if the long ones were not there, and nobody has to say beforehand how many it will need (foreground-background
scheduling, Schrage 1967). After that, who may still ask for least is next, and among equals who came first:
equal long queries are finished one after another, and not all at the end. Items for the gallery come after
all queries. One chunk in `OLDEST_EVERY` goes to whoever came first, so that a long query, or an item, always
goes on, however many short ones come.
"""

import heapq
import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.noise import Purpose

# More than most questions of yes or no take. Those that take more come one after another: if all had their
# turns alike, all would be done at the end.
FOREGROUND = 512
OLDEST_EVERY = 8
# A chunk that so many samplers were lost with may be what ends them: its draw fails. The last of them has it
# alone, so that no other has to fail with it.
MOST_LOSSES = 4
# After the purpose and the part of the queue: how much was had, or is left; and who came first.
Rank = tuple[bool, bool, int, tuple[int, int]]
CLOSED = "no samples are drawn any more: the service is shutting down"


@dataclass(eq=False)
class Stream:
    """The samples of one input: its pixels (C, H, W) on the grid, and how far it has come.

    most     the chunk before which whoever asks will have enough, at the latest
    served   chunks that it has had
    arrival  when it first joined the queue: a number that counts up; 0 before
    """

    digest: bytes
    pixels: NDArray[np.float32]
    purpose: Purpose
    most: int = 0
    served: int = 0
    arrival: int = 0


@dataclass(eq=False)
class Draw:
    """Chunks `first` to `last` - 1 of a stream. `samples` (chunks, chunk, d) is filled, in any order.

    returned  chunks that were handed out and have come back, undrawn
    losses    how often each of those has
    """

    stream: Stream
    first: int
    last: int
    samples: NDArray[np.float32]
    number: int = 0
    handed_out: int = 0
    error: BaseException | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    returned: list[int] = field(default_factory=list)
    losses: dict[int, int] = field(default_factory=dict)
    arrived: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.arrived = np.zeros(self.last - self.first, np.bool_)

    @property
    def rank(self) -> Rank:
        """Whose is lowest is next; no two draws in a queue have the same."""
        stream = self.stream
        background = stream.served * self.samples.shape[1] >= FOREGROUND
        left = max(stream.most - self.last, 0) + self.left
        return stream.purpose == "gallery", background, left if background else stream.served, self.age

    @property
    def age(self) -> tuple[int, int]:
        """Whose is lowest came first."""
        return self.stream.arrival, self.number

    @property
    def left(self) -> int:
        """How many chunks are to be handed out."""
        return self.last - self.first - self.handed_out + len(self.returned)

    def next(self) -> int:
        """The next chunk to be handed out: one that came back first."""
        if self.returned:
            return self.returned.pop(0)
        self.handed_out += 1
        self.stream.served += 1
        return self.first + self.handed_out - 1

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
    """Draws that wait for the network. Shared by threads."""

    def __init__(self) -> None:
        self._arrivals = 0
        self._handed_out = 0
        self._closed = False
        self._heap: list[tuple[Rank, Draw]] = []
        # Out of line: what has to be handed out alone would have to wait for a batch that nobody else is in.
        self._alone: list[tuple[Draw, int]] = []
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Samples that have been asked for and not been handed out yet."""
        with self._changed:
            in_line: int = sum(draw.samples.shape[1] * draw.left for _, draw in self._heap)
            return in_line + sum(int(draw.samples.shape[1]) for draw, _ in self._alone)

    def put(self, draw: Draw) -> None:
        """Join the queue. Raises `RuntimeError` after `close`."""
        with self._changed:
            if self._closed:
                raise RuntimeError(CLOSED)
            self._arrivals += 1
            draw.number = self._arrivals
            draw.stream.arrival = draw.stream.arrival or self._arrivals
            heapq.heappush(self._heap, (draw.rank, draw))
            self._changed.notify_all()

    def drop(self, draw: Draw) -> None:
        """Leave the queue at once, and for good. What was handed out already still arrives."""
        with self._changed:
            draw.finished.set()
            self._heap = [entry for entry in self._heap if entry[1] is not draw]
            heapq.heapify(self._heap)
            self._alone = [entry for entry in self._alone if entry[0] is not draw]

    def give_back(self, chunks: list[tuple[Draw, int]], error: Exception) -> None:
        """Chunks of `take` that nobody will deliver are to be handed out again.

        A draw fails with `error` if one of them comes back for the time `MOST_LOSSES`, and after `close`.
        """
        failed = []
        with self._changed:
            for draw, chunk in chunks:
                draw.losses[chunk] = draw.losses.get(chunk, 0) + 1
                if self._closed or draw.losses[chunk] >= MOST_LOSSES:
                    failed.append(draw)
                elif draw.finished.is_set():  # nobody waits for it any more
                    continue
                elif draw.losses[chunk] == MOST_LOSSES - 1:
                    self._alone.append((draw, chunk))
                else:
                    self._return(draw, chunk)
            self._changed.notify_all()
        for draw in failed:
            draw.fail(error)

    def take(self, most: int) -> list[tuple[Draw, int]]:
        """Up to `most` chunks, each with its draw, as soon as there is one; none when the queue closes.

        A chunk that may be lost only once more comes first, and alone.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._alone or self._heap or self._closed)
            if self._alone:
                return [self._alone.pop(0)]
            taken: list[tuple[Draw, int]] = []
            while self._heap and len(taken) < most:
                taken.append(self._next())
            return taken

    def _return(self, draw: Draw, chunk: int) -> None:
        self._heap = [entry for entry in self._heap if entry[1] is not draw]
        draw.returned.append(chunk)
        self._heap.append((draw.rank, draw))
        heapq.heapify(self._heap)

    def _next(self) -> tuple[Draw, int]:
        self._handed_out += 1
        if self._handed_out % OLDEST_EVERY == 0:
            position = min(range(len(self._heap)), key=lambda entry: self._heap[entry][1].age)
            draw = self._heap[position][1]
            self._heap[position] = self._heap[-1]
            self._heap.pop()
            heapq.heapify(self._heap)
        else:
            draw = heapq.heappop(self._heap)[1]
        chunk = draw.next()
        if draw.left:
            heapq.heappush(self._heap, (draw.rank, draw))
        return draw, chunk

    def close(self) -> None:
        """Nothing is handed out any more; draws that wait fail."""
        with self._changed:
            self._closed = True
            waiting = [draw for _, draw in self._heap] + [draw for draw, _ in self._alone]
            self._heap, self._alone = [], []
            self._changed.notify_all()
        for draw in waiting:
            draw.fail(RuntimeError(CLOSED))
