"""Where the items of one gallery version are: sealed segments, a small open one, and an order for all.

Nothing in it ever changes. The next version shares all segments with this one but the open one; who has left
a segment is marked. So a change costs what it touches, and a few numbers an item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.clusters import FEW
from index.columns import Columns, Serials, Singles
from index.segment import LiveSegment, Places, Segment, opened
from index.shards.elsewhere import gathered

# A place is the number of a segment, and a position in it.
SHIFT = 32
POSITION = 2**SHIFT - 1


@dataclass(frozen=True, eq=False)
class Arrangement:
    """N items. Their rows are 0 to N - 1, in the order of addition.

    parts    the sealed segments that hold any of them
    open     the open segment: all of its items are there (where only some are wanted, it is one of `parts`)
    serials  (N,) rising
    places   (N,) of each row
    """

    parts: tuple[LiveSegment, ...]
    open: Segment
    serials: Serials
    places: Places

    @classmethod
    def of(cls, parts: Sequence[LiveSegment], rest: Columns) -> "Arrangement":
        """The items of sealed `parts`, and `rest` in the open segment."""
        last = opened(rest)
        serials, places = list[Serials](), list[Places]()
        for part in (*parts, LiveSegment(last)):
            there = np.flatnonzero(part.within(np.ones(len(part.segment), np.bool_)))
            serials.append(part.segment.columns.serials[there])
            places.append((part.segment.number << SHIFT) + there)
        together = np.concatenate(serials)
        order = np.argsort(together)
        return cls(tuple(parts), last, together[order], np.concatenate(places)[order])

    def __len__(self) -> int:
        return len(self.serials)

    @cached_property
    def all(self) -> tuple[LiveSegment, ...]:
        """All parts that hold items, the open one last."""
        return (*self.parts, LiveSegment(self.open)) if len(self.open) else self.parts

    @cached_property
    def _segments(self) -> dict[int, Segment]:
        return {part.segment.number: part.segment for part in self.all}

    def rows(self, serials: Serials) -> NDArray[np.int64]:
        """The rows of items that are there."""
        return np.searchsorted(self.serials, serials)

    def holds(self, serials: Serials) -> NDArray[np.bool_]:
        """Which of `serials` (k,) are there."""
        if not len(self):
            return np.zeros(len(serials), np.bool_)
        found: NDArray[np.bool_] = self.serials[np.minimum(self.rows(serials), len(self) - 1)] == serials
        return found

    def _divided(self, rows: NDArray[np.int64]) -> list[tuple[Segment, NDArray[np.int64], Places]]:
        """For each segment that holds some of `rows` (k,): which of the k, and where they are."""
        places = self.places[rows]
        numbers = places >> SHIFT
        order = np.argsort(numbers, kind="stable")
        begins = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        return [
            (self._segments[int(numbers[some[0]])], some, places[some] & POSITION)
            for some in np.split(order, begins[1:])
            if len(some)
        ]

    def vectors(self, rows: NDArray[np.int64]) -> Singles:
        """The vectors (k, d) of `rows` (k,)."""
        found = np.empty((len(rows), self.open.columns.vectors.shape[1]), np.float32)
        divided = self._divided(rows)
        brought = gathered([(segment.columns.vectors, places) for segment, _, places in divided])
        for (_, some, _), vectors in zip(divided, brought, strict=True):
            found[some] = vectors
        return found

    def digests(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The digests (k, 32) of `rows` (k,)."""
        found = np.empty((len(rows), 32), np.uint8)
        for segment, some, places in self._divided(rows):
            found[some] = segment.columns.digests[places]
        return found

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the labels (k,) of `rows` (k,)."""
        found = np.empty(len(rows), np.int64)
        for segment, some, places in self._divided(rows):
            found[some] = segment.columns.labels[places]
        return found

    def of_labels(self, numbers: NDArray[np.int64]) -> list[tuple[Segment, Places]]:
        """Where the items of labels `numbers` (at least one) are."""
        found = []
        wanted = np.zeros(int(numbers.max()) + 2, np.bool_)  # the last is for all larger numbers
        wanted[numbers] = True
        for part in self.all:
            labels = part.segment.columns.labels
            mine = wanted[np.minimum(labels, len(wanted) - 1)]
            places = np.flatnonzero(part.within(mine))
            if len(places):
                found.append((part.segment, places))
        return found

    def only(self, wanted: Callable[[Columns], NDArray[np.bool_]]) -> "Arrangement":
        """The arrangement of some items: of columns (n,), `wanted` says which (n,). It is not for changing.

        They stay in their segments; where they are few, they are copied out of them.
        """
        nothing = Columns.none(self.open.columns.vectors.shape[1])
        chosen = [part.only(wanted(part.segment.columns)) for part in self.all]
        parts = [part for part in chosen if len(part)]
        if sum(map(len, parts)) <= FEW:
            return Arrangement.of([], Columns.joined([nothing, *(part.columns for part in parts)]))
        return Arrangement.of(parts, nothing)

    @property
    def bytes(self) -> int:
        """How much memory it takes beside its sealed segments, about."""
        marks = sum(part.alive.nbytes for part in self.parts if part.alive is not None)
        return marks + self.open.columns.bytes + self.serials.nbytes + self.places.nbytes

    def changed(self, gone: Serials, new: Columns) -> "Arrangement":
        """The arrangement without the items `gone`, and with `new` in the open segment.

        `gone` are there, each once; an item of `new` that is there is among them.
        """
        rows = self.rows(gone)
        places = self.places[rows]
        numbers = places >> SHIFT
        parts = []
        for part in self.parts:
            left = places[numbers == part.segment.number] & POSITION
            parts.append(part.without(left) if len(left) else part)
        stay = np.ones(len(self.open), np.bool_)
        stay[places[numbers == 0] & POSITION] = False
        last = opened(Columns.joined([self.open.columns.take(stay), new]))
        left, more = np.setdiff1d(gone, new.serials), np.setdiff1d(new.serials, gone)
        serials, kept = self.serials, self.places
        if len(left):
            left = self.rows(left)
            serials, kept = np.delete(serials, left), np.delete(kept, left)
        at = np.searchsorted(serials, more)
        if len(more) and at[0] < len(serials):  # an item that was there, and could not be searched
            serials, kept = np.insert(serials, at, more), np.insert(kept, at, 0)
        else:
            serials, kept = np.append(serials, more), np.append(kept, np.zeros_like(more))
        kept[np.searchsorted(serials, last.columns.serials)] = np.arange(len(last))
        return Arrangement(tuple(part for part in parts if len(part)), last, serials, kept)

    def compacted(self, gone: Sequence[int], new: Sequence[Segment], moved: Columns) -> "Arrangement":
        """The arrangement with segments `new` in place of those whose numbers are `gone`.

        `new` and `moved` hold what these, and the open segment, held some versions ago: who has left or
        changed since is not there. `moved` go into the open segment.
        """
        segments = [*new, opened(moved)]
        current = [self._current(segment.columns, gone) for segment in segments]
        left = np.isin(
            self.open.columns.serials,
            np.concatenate([each.columns.serials[now] for each, now in zip(segments, current, strict=True)]),
            invert=True,
        )
        back = segments[-1].columns.take(current[-1])
        last = opened(Columns.joined([self.open.columns.take(left), back]))
        parts = [part for part in self.parts if part.segment.number not in gone]
        places = self.places.copy()
        for segment, now in zip(new, current, strict=False):
            where = np.flatnonzero(now)
            places[self.rows(segment.columns.serials[where])] = (segment.number << SHIFT) + where
            parts.append(LiveSegment(segment, None if now.all() else now))
        places[self.rows(last.columns.serials)] = np.arange(len(last))
        return Arrangement(tuple(part for part in parts if len(part)), last, self.serials, places)

    def _current(self, columns: Columns, gone: Sequence[int]) -> NDArray[np.bool_]:
        """Which of `columns` (n,) are what is there now, in segments `gone` or the open one."""
        found = self.holds(columns.serials)
        there = np.flatnonzero(found)
        places = self.places[self.rows(columns.serials[there])]
        numbers = places >> SHIFT
        now = np.isin(numbers, gone)
        opens = numbers == 0
        mine, theirs = columns.take(there[opens]), self.open.columns.take(places[opens])
        now[opens] = (
            (mine.labels == theirs.labels)
            & (mine.digests == theirs.digests).all(axis=1)
            & (mine.vectors == theirs.vectors).all(axis=1)
        )
        found[there] = now
        return found
