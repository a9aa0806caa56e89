"""Vectors that stand elsewhere, read as if they were an array; what is asked of many travels together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from index.columns import Columns, Singles
from index.segment import Segment

Places = NDArray[np.int64]

# Vectors that are brought here at a time if all are wanted.
BROUGHT = 8192


class Holder(Protocol):
    """Who knows where vectors are. What it raises is a `GalleryError`."""

    def rows(self, wanted: Sequence[tuple["Elsewhere", Places]]) -> list[Singles]:
        """The vectors (k, d) at places (k,) of each."""
        ...

    def products(self, runs: Sequence["RunElsewhere"], point: Singles) -> list[Singles]:
        """The products of the vectors in each of `runs` with `point` (d,)."""
        ...


class Elsewhere:
    """The vectors (n, d) float32 of a segment, known here by the `mark` of what is in it alone.

    What is read twice has two of them; shards are to hold it while either lives.
    """

    def __init__(
        self, holder: Holder, shard: int, mark: bytes, layout: bytes, shape: tuple[int, int]
    ) -> None:
        self.holder, self.shard, self.mark, self.layout, self.shape = holder, shard, mark, layout, shape
        self.nbytes = 0  # here

    @property
    def name(self) -> tuple[int, bytes]:
        """Where they stand, and what they are."""
        return self.shard, self.mark

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Any) -> Any:
        """Those at `places` (k,), or of a mask (n,)."""
        if places.dtype == np.bool_:
            places = np.flatnonzero(places)
        return self.holder.rows([(self, places)])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Singles:
        pieces = np.split(np.arange(len(self)), range(BROUGHT, len(self), BROUGHT))
        found: Singles = np.concatenate([self[piece] for piece in pieces])
        return found if dtype is None else found.astype(dtype)


@dataclass(frozen=True, eq=False)
class RunElsewhere:
    """The vectors `first` to `last` of a segment elsewhere."""

    vectors: Elsewhere
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class SegmentElsewhere(Segment):
    """A segment all of which is here but its vectors."""

    norm: float = 0.0

    @cached_property
    def largest_norm(self) -> float:
        """Of its vectors, as it was when they were here."""
        return self.norm


def without_vectors(segment: Segment, vectors: Elsewhere) -> SegmentElsewhere:
    """The segment with its vectors elsewhere."""
    held = segment.columns
    return SegmentElsewhere(
        segment.number, Columns(held.serials, held.labels, held.digests, cast(Singles, vectors)),
        segment.starts, segment.centres, segment.radii, segment.groups, segment.largest_norm,
    )  # fmt: skip


def elsewhere(vectors: object) -> Elsewhere | None:
    """`vectors`, if they are elsewhere."""
    return vectors if isinstance(vectors, Elsewhere) else None


def gathered(wanted: Sequence[tuple[Singles, Places]]) -> list[Singles]:
    """Of each array (n, d) the rows (k, d) at places (k,); those elsewhere with one question to a shard."""
    far = [(vectors, places) for each, places in wanted if (vectors := elsewhere(each)) is not None]
    brought = iter(far[0][0].holder.rows(far) if far else ())
    return [each[places] if elsewhere(each) is None else next(brought) for each, places in wanted]


def multiplied(runs: Sequence[tuple[Singles, int, int]], point: Singles) -> list[Singles]:
    """Of runs (array, first, last) the products with `point` (d,); elsewhere with one question to a shard."""
    far = [
        RunElsewhere(vectors, first, last)
        for each, first, last in runs
        if (vectors := elsewhere(each)) is not None
    ]
    brought = iter(far[0].vectors.holder.products(far, point) if far else ())
    return [
        each[first:last] @ point if elsewhere(each) is None else next(brought) for each, first, last in runs
    ]
