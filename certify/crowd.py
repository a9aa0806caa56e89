"""A gallery in clusters: rivals that are far are bounded together, and opened one by one only if need be.

Let b be a member of a cluster, ||b - c|| <= r around its centre c, a a winner and p any point. Then

    f_ab(v) = <v, a> - <v, c> - ||a||²/2 + (||b||²/2 - <p, b - c>) - <v - p, b - c>
           >= <v, a> - <v, c> - ||a||²/2 + <p, c> + min_b (||b||²/2 - <p, b>) - r ||v - p||,          (crowd)

one scalar for the whole cluster. A member stakes the share TOGETHER of its wealth as this scalar says, and
the rest by itself. A mixture of supermartingales is one, and has reached 1/α once a part has reached 1/α over
its share (docs/certificate.md §7).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify.pairs import Pairs, best_pairs, pairs
from certify.points import UP
from certify.selection import best_winners
from certify.space import UNIT, EmbeddingSpace
from certify.stacked import Stacked

Array = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]

# The share of its wealth that a member stakes as its cluster does.
TOGETHER = 0.05


@dataclass(frozen=True)
class Vectors:
    """All vectors of a gallery, cluster after cluster.

    rows     (N, d) float32; members of cluster c are rows starts[c] to starts[c + 1]
    starts   (C + 1,)
    centres  (C, d) float32
    radii    (C,) no member is farther from its centre
    parts    what was `joined`, if it was: rows and centres are where they were
    """

    rows: Singles | Stacked
    starts: Rows
    centres: Singles | Stacked
    radii: Array
    parts: tuple["Vectors", ...] = ()

    @classmethod
    def flat(cls, vectors: NDArray[np.floating]) -> "Vectors":
        """A gallery without clusters: every rival is bet on by itself."""
        singles = np.ascontiguousarray(vectors, np.float32)
        return cls(singles, np.zeros(1, np.int64), singles[:0], np.zeros(0))

    @classmethod
    def single(cls, vectors: Singles) -> "Vectors":
        """Vectors (N, d) that stand for themselves, each a cluster of its own, beside others in clusters."""
        return cls(vectors, np.arange(len(vectors) + 1), vectors, np.zeros(len(vectors)))

    @classmethod
    def joined(cls, parts: Sequence["Vectors"]) -> "Vectors":
        """All vectors of `parts`, which have clusters; nothing that is as long as they are is copied."""
        begins = np.cumsum([0, *(len(part.rows) for part in parts)])
        starts = [part.starts[:-1] + begin for part, begin in zip(parts, begins, strict=False)]
        return cls(
            Stacked([_array(part.rows) for part in parts]),
            np.concatenate([*starts, begins[-1:]]),
            Stacked([_array(part.centres) for part in parts]),
            np.concatenate([part.radii for part in parts]),
            tuple(parts),
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
    def ends(self) -> tuple[Array, Array]:
        """The smallest and the largest ||b||²/2 in each cluster (C,)."""
        if self.parts:
            lowest, highest = zip(*(part.ends for part in self.parts), strict=True)
            return np.concatenate(lowest), np.concatenate(highest)
        return np.minimum.reduceat(self.halves, self.starts[:-1]), np.maximum.reduceat(
            self.halves, self.starts[:-1]
        )

    def members(self, clusters: Rows) -> Rows:
        """The rows of `clusters`, one cluster after the other."""
        sizes = self.starts[clusters + 1] - self.starts[clusters]
        before = np.cumsum(sizes) - sizes
        return np.repeat(self.starts[clusters] - before, sizes) + np.arange(sizes.sum())


def _array(rows: Singles | Stacked) -> Singles:
    if isinstance(rows, Stacked):
        raise TypeError("vectors that were joined are not joined again")
    return rows


class Crowd:
    """The clusters of a gallery whose rivals are bounded together, until they are opened.

    vectors     those of the whole gallery
    rivals      (N,) which of them must stay behind
    winners     (A, d)
    selection   (k, d) samples: they choose the winners that rivals meet
    point       (d,) p
    clusters    (C,) those that are not opened from the start
    counts      (C,) how many rivals each holds
    pairs       their scalars (crowd)
    """

    def __init__(
        self,
        vectors: Vectors,
        rivals: NDArray[np.bool_],
        winners: NDArray[np.floating],
        selection: NDArray[np.floating],
        point: Array,
        space: EmbeddingSpace,
    ) -> None:
        self.vectors, self.rivals, self.winners, self.selection = vectors, rivals, winners, selection
        self.space = space
        counts = np.add.reduceat(rivals, vectors.starts[:-1], dtype=np.int64)
        self.clusters = np.flatnonzero(counts)
        self.counts = counts[self.clusters]
        # Which winner meets each cluster.
        self._chosen = best_winners(selection, winners, vectors.centres[self.clusters])
        self.pairs = self._together(point)

    def without(self, some: NDArray[np.bool_]) -> Self:
        """The crowd without `some` (C,) of its clusters."""
        rest = copy(self)
        rest.clusters, rest.counts = self.clusters[~some], self.counts[~some]
        rest._chosen, rest.pairs = self._chosen[~some], self.pairs.of(~some)
        return rest

    def members(self, places: Rows) -> Rows:
        """The rivals in the clusters at `places`: rows of the gallery."""
        rows = self.vectors.members(self.clusters[places])
        return rows[self.rivals[rows]]

    def opened(self, rows: Rows) -> Pairs:
        """The margins of rivals `rows`, one by one."""
        return best_pairs(self.selection, self.winners, self.vectors.rows[rows], self.space)

    @property
    def centred(self) -> Pairs:
        """The margins over the centres of the clusters: about those of members, but no bound."""
        return pairs(self.winners, self.vectors.centres[self.clusters], self._chosen, self.space)

    def _together(self, point: Array) -> Pairs:
        vectors, space, begin = self.vectors, self.space, self.vectors.starts[:-1]
        lowest, highest = (ends[self.clusters] for ends in vectors.ends)
        centres = vectors.centres[self.clusters].astype(np.float64)
        radii = vectors.radii[self.clusters]
        # ||b||²/2 - <p, b>, for p in float32; a product is off by that share of the norms of both.
        single = point.astype(np.float32)
        lead = np.minimum.reduceat(
            np.where(self.rivals, vectors.halves - vectors.rows @ single, np.inf), begin
        )[self.clusters]
        terms = (len(single) + 2) * UNIT
        lead = lead - terms * UP * float(np.linalg.norm(single)) * np.sqrt(2 * highest)
        ahead = self.winners[self._chosen].astype(np.float64)
        half = np.einsum("cd,cd->c", ahead, ahead) / 2
        weights = ahead - centres
        lengths = np.sqrt(np.einsum("cd,cd->c", weights, weights))
        return Pairs(
            weights.astype(np.float32),
            offsets=half - lead - np.einsum("cd,d->c", centres, single.astype(np.float64)),
            lower=space.lower_end(weights, half - lowest) - space.norm_bound * radii,
            upper=-space.lower_end(-weights, lowest - half),
            loss=space.slack * (lengths + radii),
            norms=space.norm_bound * lengths,
            reach=radii,
        )  # fmt: skip
