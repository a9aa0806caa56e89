"""A gallery in clusters: rivals that are far are bounded together, and opened one by one only if need be.

Let b be a member of a cluster, ||b - c|| <= r around its centre c, a a winner and p any point. Then

    f_ab(v) = <v, a> - <v, c> - ||a||²/2 + (||b||²/2 - <p, b - c>) - <v - p, b - c>
           >= <v, a> - <v, c> - ||a||²/2 + <p, c> + min_b (||b||²/2 - <p, b>) - r ||v - p||,          (crowd)

one scalar for the whole cluster, and, with a larger r, for a group of clusters. For a group the minimum is
what the distance of p says: ||b||²/2 - <p, b> = (||b - p||² - ||p||²)/2, ||b - p|| >= ||c - p|| - r. So
nothing is computed for its members. A member stakes the share TOGETHER of its wealth as the scalar of its
cluster says, GROUPED as that of its group, and the rest by itself. A mixture of supermartingales is one, and
has reached 1/α once a part has reached 1/α over its share (docs/certificate.md §7).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify.pairs import ROUNDING, Pairs, best_pairs, pairs
from certify.points import UP
from certify.selection import best_winners
from certify.space import UNIT, EmbeddingSpace
from certify.vectors import Balls, Vectors, runs

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# The shares of its wealth that a member stakes as its cluster does, and as its group does.
TOGETHER, GROUPED = 0.05, 0.01
# More than rounding in float64 takes from a distance, relative.
SHORTER = 1e-12


@dataclass(frozen=True)
class Closed:
    """Clusters, or groups of clusters, that stand for all their rivals.

    numbers  (C,) which of the gallery's
    counts   (C,) how many rivals each holds
    chosen   (C,) which winner meets each
    pairs    their scalars (crowd)
    """

    numbers: Rows
    counts: Rows
    chosen: Rows
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, some: Mask | Rows) -> Self:
        """Some of them."""
        return replace(
            self,
            numbers=self.numbers[some],
            counts=self.counts[some],
            chosen=self.chosen[some],
            pairs=self.pairs.of(some),
        )

    def beside(self, other: "Closed") -> Self:
        """These, and then others."""
        return replace(
            self,
            numbers=np.concatenate([self.numbers, other.numbers]),
            counts=np.concatenate([self.counts, other.counts]),
            chosen=np.concatenate([self.chosen, other.chosen]),
            pairs=self.pairs.beside(other.pairs),
        )


@dataclass(frozen=True)
class Crowd:
    """The rivals that are bounded together, until what holds them is opened.

    vectors    those of the whole gallery
    rivals     (N,) which of them must stay behind
    winners    (A, d)
    selection  (k, d) samples: they choose the winners that rivals meet
    point      (d,) p
    groups     those that are closed
    clusters   those that are closed, of groups that are not
    """

    vectors: Vectors
    rivals: Mask
    winners: NDArray[np.floating]
    selection: NDArray[np.floating]
    point: NDArray[np.float32]
    space: EmbeddingSpace
    groups: Closed
    clusters: Closed

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        rivals: Mask,
        winners: NDArray[np.floating],
        selection: NDArray[np.floating],
        point: Array,
        space: EmbeddingSpace,
    ) -> Self:
        """All rivals, in groups; p is `point` (d,) in float32."""
        none = np.zeros(0, np.int64)
        nobody = Closed(none, none, none, pairs(winners, vectors.rows[none], none, space))
        single = point.astype(np.float32)
        crowd = cls(vectors, rivals, winners, selection, single, space, nobody, nobody)
        balls = vectors.grouped
        counts = np.add.reduceat(rivals, balls.starts[:-1], dtype=np.int64)
        numbers = np.flatnonzero(counts)
        away = balls.centres[numbers].astype(np.float64) - crowd.point
        distances = np.sqrt(np.einsum("gd,gd->g", away, away))
        gaps = np.maximum(distances * (1 - SHORTER) - balls.radii[numbers], 0.0)
        leads = (gaps**2 - float(np.square(crowd.point, dtype=np.float64).sum())) / 2
        return replace(crowd, groups=crowd._closed(balls, numbers, counts[numbers], leads))

    def scattered(self, some: Mask | Rows) -> Self:
        """The crowd with clusters instead of `some` of its groups."""
        opened = np.zeros(len(self.groups), np.bool_)
        opened[some] = True
        clusters = self._clusters(self.groups.numbers[opened])
        return replace(self, groups=self.groups.of(~opened), clusters=self.clusters.beside(clusters))

    def without(self, some: Mask) -> Self:
        """The crowd without `some` (C,) of its clusters."""
        return replace(self, clusters=self.clusters.of(~some))

    def members(self, clusters: Closed) -> Rows:
        """The rivals in `clusters`: rows of the gallery."""
        rows = runs(self.vectors.starts, clusters.numbers)
        return rows[self.rivals[rows]]

    def opened(self, rows: Rows) -> Pairs:
        """The margins of rivals `rows`, one by one."""
        return best_pairs(self.selection, self.winners, self.vectors.rows[rows], self.space)

    @property
    def centred(self) -> Pairs:
        """The margins over the centres of the clusters: about those of members, but no bound."""
        centres = self.vectors.centres[self.clusters.numbers]
        return pairs(self.winners, centres, self.clusters.chosen, self.space)

    def _clusters(self, groups: Rows) -> Closed:
        """The clusters with rivals of these `groups`."""
        vectors, numbers = self.vectors, runs(self.vectors.groups, groups)
        rows = runs(vectors.grouped.starts, groups)
        sizes = vectors.starts[numbers + 1] - vectors.starts[numbers]
        begins = np.cumsum(sizes) - sizes
        behind = self.rivals[rows]
        products = vectors.products(groups, self.point)
        if not len(numbers):
            return self.clusters.of(numbers)
        found = np.where(behind, vectors.halves[rows] - np.concatenate(products), np.inf)
        leads = np.minimum.reduceat(found, begins)
        # A product in float32 is off by this share of the norms of both.
        terms = (len(self.point) + 2) * UNIT
        norm = float(np.linalg.norm(self.point))
        leads -= terms * UP * norm * np.sqrt(2 * vectors.clusters.highest[numbers])
        counts = np.add.reduceat(behind, begins, dtype=np.int64)
        held = counts > 0
        return self._closed(vectors.clusters, numbers[held], counts[held], leads[held])

    def _closed(self, balls: Balls, numbers: Rows, counts: Rows, leads: Array) -> Closed:
        """Some of `balls`, in which ||b||²/2 - <p, b> of no rival is below `leads`."""
        centres = balls.centres[numbers].astype(np.float64)
        radii, lowest = balls.radii[numbers], balls.lowest[numbers]
        chosen = best_winners(self.selection, self.winners, balls.centres[numbers])
        ahead = self.winners[chosen].astype(np.float64)
        half = np.einsum("cd,cd->c", ahead, ahead) / 2
        weights = ahead - centres
        lengths = np.sqrt(np.einsum("cd,cd->c", weights, weights))
        p = self.point.astype(np.float64)
        across = np.einsum("cd,d->c", centres, p)
        norms = half + np.einsum("cd,cd->c", centres, centres) + balls.highest[numbers] + p @ p
        rounded = (len(p) + 8) * ROUNDING * (norms + lengths)
        space = self.space
        found = Pairs(
            weights.astype(np.float32),
            offsets=half - leads - across,
            lower=space.lower_end(weights, half - lowest) - space.norm_bound * radii - rounded,
            upper=-space.lower_end(-weights, lowest - half),
            loss=space.slack * (lengths + radii) + rounded,
            norms=space.norm_bound * lengths,
            reach=radii,
        )
        return Closed(numbers, counts, chosen, found)
