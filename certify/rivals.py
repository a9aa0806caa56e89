"""Who may win and who has to stay behind, as a bet on every rival needs it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify.crowd import Closed, Crowd
from certify.pairs import Pairs, best_pairs
from certify.points import Points
from certify.positions import Positions
from certify.selection import SEEN_TO, danger
from certify.space import EmbeddingSpace
from certify.vectors import Vectors

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Enough to hold all that may bind in most galleries.
SINGLES = 1024
# So many times as many are in the groups in which these are sought.
SOUGHT = 16
# Rivals whose distances are computed at a time.
BATCH = 8192
# The share of samples that may be at the lower end of a margin, as far as danger is concerned.
UNSEEN = 0.007


@dataclass(frozen=True)
class Rivals:
    """The winners and rivals that a claim is about, chosen with the selection samples alone.

    winners  (A, d) items that may stand for the answer: the item itself, or items of its label; A >= 1
    vectors  those of the whole gallery
    behind   (N,) which of these must stay behind
    centre   (d,) the selection mean
    singles  how many rivals are bet on one by one from the start, at least, if the gallery has clusters
    """

    winners: NDArray[np.floating]
    vectors: Vectors
    behind: NDArray[np.bool_]
    centre: Array
    singles: int = SINGLES

    @property
    def finite(self) -> bool:
        """Whether every number in it is one."""
        return all(np.isfinite(vectors).all() for vectors in (self.winners, self.vectors.halves, self.centre))

    @classmethod
    def of(cls, winners: NDArray[np.floating], rivals: NDArray[np.floating], centre: Array) -> Self:
        """Winners (A, d) and rivals (K, d), each of which is bet on by itself; rounded to float32."""
        vectors = Vectors.flat(rivals)
        return cls(winners.astype(np.float32), vectors, np.ones(len(rivals), np.bool_), centre)

    def distances(self, point: Array) -> tuple[Rows, Array]:
        """All rivals, nearest first: rows of the gallery (K,), and distances (K,) from `point` (d,)."""
        rows = np.flatnonzero(self.behind)
        found = np.empty(len(rows))
        for start in range(0, len(rows), BATCH):
            gaps = self.vectors.rows[rows[start : start + BATCH]] - point
            found[start : start + BATCH] = np.sqrt(np.einsum("kd,kd->k", gaps, gaps))
        order = np.argsort(found, kind="stable")
        return rows[order], found[order]

    def divided(
        self, selection: NDArray[np.floating], space: EmbeddingSpace
    ) -> tuple[Pairs, Crowd | None, Points]:
        """Margins to bet on one by one, the clusters of all others, and the selection (k, d) as `Points`.

        The clusters that look most dangerous, in the groups that do, are opened at once.
        """
        points = Points.of(selection, self.centre)
        crowd = None
        rows = np.flatnonzero(self.behind)
        if len(self.vectors.centres):
            crowd = Crowd.of(self.vectors, self.behind, self.winners, selection, self.centre, space)
            dangers = _danger(crowd.groups.pairs, points)
            near = _first(crowd.groups, dangers, SOUGHT * self.singles) | (dangers <= 0)
            crowd = crowd.scattered(near)
            opened = _first(crowd.clusters, _danger(crowd.centred, points), self.singles)
            rows = crowd.members(crowd.clusters.of(opened))
            crowd = crowd.without(opened) if len(rows) < np.count_nonzero(self.behind) else None
        return best_pairs(selection, self.winners, self.vectors.rows[rows], space), crowd, points


def _first(closed: Closed, dangers: Array, rivals: int) -> NDArray[np.bool_]:
    """The most dangerous of `closed` (C,) that hold `rivals` together, or a little more."""
    order = np.argsort(dangers, kind="stable")
    enough = int(np.searchsorted(np.cumsum(closed.counts[order]), rivals)) + 1
    found = np.zeros(len(order), np.bool_)
    found[order[:enough]] = True
    return found


def _danger(some: Pairs, points: Points) -> Array:
    masses = Positions(some, SEEN_TO).masses(np.arange(len(some)), points, 0, len(points))
    return danger(masses, UNSEEN)
