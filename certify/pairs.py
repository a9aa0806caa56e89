"""Margins: the bounded scalars to which "item a stays ahead of item b" reduces (docs/certificate.md §3).

For v = h(u), f_ab(v) = <v, a - b> - c = (||v - b||² - ||v - a||²) / 2 with c = (||a||² - ||b||²) / 2. Item a
is nearer to g(x + δ) than b if and only if E f_ab > 0 there.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from certify.selection import best_winners
from certify.space import EmbeddingSpace

Array = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]

# A margin that is never below this needs no bound.
TINY = 1e-8
# A margin whose lower end is nearer to 0 than this is bet on as if it were this far.
NARROW = 1e-8
# What an operation in float64 rounds by at most, relative.
ROUNDING = 2.0**-53
# Pairs that are prepared at a time.
BATCH = 2048


@dataclass(frozen=True)
class Pairs:
    """K margins <v, w> - c - r s(v), s(v) >= ||v - p|| for a point p: one for a pair of items if r is 0.

    weights  (K, d) w, rounded to float32; c is in `offsets` (K,), r in `reach` (K,)
    lower    (K,) what the margin is never below, or for a cluster what none of those that it bounds is
    upper    (K,) what it is never above, which need not be proven: more is counted as less
    loss     (K,) what it is lowered by: a sample may be off by `EmbeddingSpace.slack`, and float64 rounds
    norms    (K,) F ||w||, to which rounding in float32 is in proportion
    """

    weights: Singles
    offsets: Array
    lower: Array
    upper: Array
    loss: Array
    norms: Array
    reach: Array

    def __len__(self) -> int:
        return len(self.lower)

    def of(self, rows: NDArray[np.bool_] | Rows) -> Self:
        """Some of the margins."""
        return replace(self, **{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def beside(self, other: "Pairs") -> Self:
        """These margins, and then others."""
        both = {each.name: [getattr(pairs, each.name) for pairs in (self, other)] for each in fields(self)}
        return replace(self, **{name: np.concatenate(values) for name, values in both.items()})

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """Margins (K,) that may be negative at all."""
        return self.lower <= TINY

    @property
    def scale(self) -> Array:
        """How far the lower end is below 0 (K,): the unit in which a margin is bet on."""
        return np.maximum(-self.lower, NARROW)


def pairs(
    winners: NDArray[np.floating], rivals: NDArray[np.floating], chosen: Rows, space: EmbeddingSpace
) -> Pairs:
    """The margins of `winners` (A, d), as `chosen` (K,), over `rivals` (K, d).

    A sample may be off by `space.slack` from the embedding it stands for, and a margin by slack ||a - b||.
    """
    ahead = winners.astype(np.float64)
    halves = np.einsum("ad,ad->a", ahead, ahead) / 2
    singles = np.empty(rivals.shape, np.float32)
    offsets, lower, upper, loss, lengths = (np.empty(len(rivals)) for _ in range(5))
    for start in range(0, len(rivals), BATCH):
        some = slice(start, start + BATCH)
        behind = rivals[some].astype(np.float64)
        weights = ahead[chosen[some]] - behind
        singles[some] = weights
        own, others = halves[chosen[some]], np.einsum("kd,kd->k", behind, behind) / 2
        offsets[some] = own - others
        lengths[some] = np.sqrt(np.einsum("kd,kd->k", weights, weights))
        upper[some] = -space.lower_end(-weights, -offsets[some])
        rounded = (rivals.shape[1] + 8) * ROUNDING * (own + others + lengths[some])
        lower[some] = space.lower_end(weights, offsets[some]) - rounded
        loss[some] = space.slack * lengths[some] + rounded
    return Pairs(singles, offsets, lower, upper, loss, space.norm_bound * lengths, np.zeros(len(rivals)))


def best_pairs(
    selection: NDArray[np.floating],
    winners: NDArray[np.floating],
    rivals: NDArray[np.floating],
    space: EmbeddingSpace,
) -> Pairs:
    """The margins over `rivals` (K, d) of those `winners` (A, d) that the samples `selection` choose."""
    return pairs(winners, rivals, best_winners(selection, winners, rivals), space)
