"""Segments: runs of items that never change, in clusters, and which of them are still there."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.clusters import Clusters, clustered
from index.columns import Columns, Singles
from index.flat import search

Places = NDArray[np.int64]
Alive = NDArray[np.bool_]

# Vectors whose norms are computed at a time.
BATCH = 8192


@dataclass(frozen=True, eq=False)
class Segment:
    """Items, cluster after cluster; `starts`, `centres`, `radii` and `groups` as in `index.clusters`.

    number  what it is called in one gallery; 0 is the open segment, which has no clusters
    """

    number: int
    columns: Columns
    starts: NDArray[np.int64]
    centres: Singles
    radii: NDArray[np.float64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def largest_norm(self) -> float:
        """Of its vectors."""
        vectors = self.columns.vectors
        some = (vectors[start : start + BATCH] for start in range(0, len(vectors), BATCH))
        squares = (np.einsum("nd,nd->n", each, each, dtype=np.float64).max(initial=0.0) for each in some)
        return float(np.sqrt(max(squares, default=0.0)))

    @cached_property
    def layout(self) -> bytes:
        """The digest (32,) of which items are here, and in which clusters."""
        content = hashlib.sha256(b"segment 2\0")
        content.update(np.ascontiguousarray(self.columns.digests).data)
        content.update(self.starts.astype("<i8").data)
        content.update(self.groups.astype("<i8").data)
        return content.digest()


@dataclass(frozen=True, eq=False)
class LiveSegment:
    """A segment as one version of the gallery sees it; `alive` (n,): which items are there, None for all."""

    segment: Segment
    alive: Alive | None = None

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return len(self.segment) if self.alive is None else int(np.count_nonzero(self.alive))

    def within(self, some: Alive) -> Alive:
        """Those of `some` (n,) that are there."""
        return some if self.alive is None else some & self.alive

    @cached_property
    def columns(self) -> Columns:
        """The items that are there: a copy if some are not."""
        return self.segment.columns if self.alive is None else self.segment.columns.take(self.alive)

    def search(self, points: Singles, count: int) -> tuple[Singles, Places]:
        """Squared distances and places (n, k) of the `count` items nearest to each of `points`, or all."""
        return search(self.segment.columns.vectors, points, min(count, len(self)), self.alive)

    def without(self, places: Places) -> "LiveSegment":
        """The part, after the items at `places` have left."""
        alive = np.ones(len(self.segment), np.bool_) if self.alive is None else self.alive.copy()
        alive[places] = False
        return LiveSegment(self.segment, alive)

    def only(self, some: Alive) -> "LiveSegment":
        """The part with `some` (n,) of its items alone."""
        return LiveSegment(self.segment, self.within(some))

    @cached_property
    def layout(self) -> bytes:
        """The digest (32,) of the segment, and of who is there."""
        content = hashlib.sha256(self.segment.layout)
        content.update(b"" if self.alive is None else np.packbits(self.alive).tobytes())
        return content.digest()


def opened(columns: Columns) -> Segment:
    """The open segment of `columns`, in the order of their digests."""
    ordered = columns.in_order()
    nothing = ordered.vectors[:0]
    nowhere = np.zeros(1, np.int64)
    return Segment(0, ordered, nowhere, nothing, np.zeros(0), nowhere)


def sealed(number: int, columns: Columns) -> Segment:
    """A segment of `columns` with clusters of its own."""
    found: Clusters = clustered(columns.vectors, few=0)
    rest = columns.bare.take(found.order)
    arranged = Columns(rest.serials, rest.labels, rest.digests, found.vectors)
    return Segment(number, arranged, found.starts, found.centres, found.radii, found.groups)
