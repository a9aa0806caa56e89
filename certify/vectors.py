"""The vectors of a gallery as certificates see them: in clusters, and clusters in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from certify.stacked import Stacked, multiplied

Array = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]

# More than rounding in float64 takes from a distance, relative.
UP = 1 + 1e-9


@dataclass(frozen=True)
class Balls:
    """Runs of rows, each in a ball.

    starts   (C + 1,) run c is rows starts[c] to starts[c + 1]
    centres  (C, d) float32
    radii    (C,) none of them is farther from its centre
    lowest   (C,) the smallest ||b||²/2
    highest  (C,) the largest
    """

    starts: Rows
    centres: Singles | Stacked
    radii: Array
    lowest: Array
    highest: Array


@dataclass(frozen=True)
class Vectors:
    """All vectors of a gallery, cluster after cluster.

    rows     (N, d) float32; members of cluster c are rows starts[c] to starts[c + 1]
    starts   (C + 1,)
    centres  (C, d) float32
    radii    (C,) no member is farther from its centre
    groups   (G + 1,) clusters of group g are groups[g] to groups[g + 1]
    parts    what was `joined`, if it was: rows and centres are where they were
    """

    rows: Singles | Stacked
    starts: Rows
    centres: Singles | Stacked
    radii: Array
    groups: Rows
    parts: tuple["Vectors", ...] = ()

    @classmethod
    def flat(cls, vectors: NDArray[np.floating]) -> "Vectors":
        """A gallery without clusters: every rival is bet on by itself."""
        singles, nowhere = np.ascontiguousarray(vectors, np.float32), np.zeros(1, np.int64)
        return cls(singles, nowhere, singles[:0], np.zeros(0), nowhere)

    @classmethod
    def single(cls, vectors: Singles) -> "Vectors":
        """Vectors (N, d) that stand for themselves, each a cluster of its own, beside others in clusters."""
        each = np.arange(len(vectors) + 1)
        return cls(vectors, each, vectors, np.zeros(len(vectors)), each)

    @classmethod
    def joined(cls, parts: Sequence["Vectors"]) -> "Vectors":
        """All vectors of `parts`, which have clusters; nothing that is as long as they are is copied."""
        return cls(
            Stacked([_array(part.rows) for part in parts]),
            _one_after_the_other([part.starts for part in parts]),
            Stacked([_array(part.centres) for part in parts]),
            np.concatenate([part.radii for part in parts]),
            _one_after_the_other([part.groups for part in parts]),
            tuple(parts),
        )

    def products(self, groups: Rows, point: Singles) -> Sequence[Singles]:
        """The products with `point` (d,) of all rows in each of `groups`."""
        starts = self.grouped.starts
        firsts, lasts = starts[groups], starts[groups + 1]
        if isinstance(self.rows, Stacked):
            return self.rows.products(firsts, lasts, point)
        return multiplied(
            [(self.rows, first, last) for first, last in zip(firsts, lasts, strict=True)], point
        )

    @cached_property
    def halves(self) -> Array:
        """||b||²/2 (N,)."""
        if self.parts:
            return np.concatenate([part.halves for part in self.parts])
        rows = _array(self.rows)
        found: Array = np.einsum("nd,nd->n", rows, rows, dtype=np.float64) / 2
        return found

    @cached_property
    def clusters(self) -> Balls:
        """Those of the clusters (C)."""
        if self.parts:
            lowest = np.concatenate([part.clusters.lowest for part in self.parts])
            highest = np.concatenate([part.clusters.highest for part in self.parts])
        else:
            lowest = np.minimum.reduceat(self.halves, self.starts[:-1])
            highest = np.maximum.reduceat(self.halves, self.starts[:-1])
        return Balls(self.starts, self.centres, self.radii, lowest, highest)

    @cached_property
    def grouped(self) -> Balls:
        """Those of the groups (G): around the mean of all members, and around the balls of all clusters."""
        if self.parts:
            each = [part.grouped for part in self.parts]
            return Balls(
                _one_after_the_other([balls.starts for balls in each]),
                *(
                    np.concatenate([getattr(balls, name) for balls in each])
                    for name in ("centres", "radii", "lowest", "highest")
                ),
            )
        begins, clusters, inner = self.groups[:-1], np.diff(self.groups), self.clusters
        inside, sizes = _array(self.centres).astype(np.float64), np.diff(self.starts)
        totals = np.add.reduceat(inside * sizes[:, None], begins)
        centres = (totals / np.add.reduceat(sizes, begins)[:, None]).astype(np.float32)
        gaps = inside - np.repeat(centres, clusters, axis=0)
        reach = np.sqrt(np.einsum("cd,cd->c", gaps, gaps)) + self.radii
        return Balls(
            self.starts[self.groups],
            centres,
            np.maximum.reduceat(reach, begins) * UP,
            np.minimum.reduceat(inner.lowest, begins),
            np.maximum.reduceat(inner.highest, begins),
        )


def runs(starts: Rows, some: Rows) -> Rows:
    """All numbers from starts[s] to starts[s + 1], for `some` s, one run after the other."""
    sizes = starts[some + 1] - starts[some]
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts[some] - before, sizes) + np.arange(sizes.sum())


def _one_after_the_other(starts: Sequence[Rows]) -> Rows:
    """Where runs begin (and the last ends) once they are put together, from where they do in each part."""
    begins = np.cumsum([0, *(some[-1] for some in starts)])
    moved = [some[:-1] + begin for some, begin in zip(starts, begins, strict=False)]
    return np.concatenate([*moved, begins[-1:]])


def _array(rows: Singles | Stacked) -> Singles:
    if isinstance(rows, Stacked):
        raise TypeError("vectors that were joined are not joined again")
    return rows
