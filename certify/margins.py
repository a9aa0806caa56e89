"""Margins: the bounded scalars to which "item a stays ahead of item b" reduces (docs/certificate.md §3).

For v = h(u), f_ab(v) = <v, w> - c = (||v - r_b||² - ||v - r_a||²) / 2, w = r_a - r_b and
c = (||r_a||² - ||r_b||²) / 2. Item a is nearer to g(x + δ) than b if and only if E f_ab > 0 there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.space import EmbeddingSpace

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Unlisted:
    """The margin of `winner` (d,) over *every* item b that is not listed, lowered by `loss`.

    With ||r_b - centre|| >= D, `outside`, the triangle inequality gives ||v - r_b|| >= D - ||v - centre||, so
    f_ab(v) >= φ(v) = (max(D - ||v - centre||, 0)² - ||v - r_a||²) / 2 for every v, whatever b is. Hence
    E f_ab >= E φ at every perturbation: a bound on the one bounded scalar φ covers the rest of the gallery,
    as if it were one more rival. Its range: -max ||v - r_a||² / 2 to D² / 2.
    """

    winner: Array
    centre: Array
    outside: float
    loss: float

    def at(self, samples: Array) -> Array:
        """φ (n,) at `samples` (n, d)."""
        gap = samples - self.winner
        spread = np.linalg.norm(samples - self.centre, axis=1)
        values: Array = (np.maximum(self.outside - spread, 0.0) ** 2 - np.einsum("nd,nd->n", gap, gap)) / 2
        values -= self.loss
        return values


@dataclass(frozen=True)
class Margins:
    """Every margin that has to stay positive: linear ones, and perhaps a last one for all unlisted rivals.

    weights        (K, d), offsets (K,): margin k is <v, w_k> - c_k
    unlisted       what is in the last row instead, or None
    lower, upper   (K,) their proven range
    """

    weights: Array
    offsets: Array
    unlisted: Unlisted | None
    lower: Array
    upper: Array

    def __len__(self) -> int:
        return len(self.lower)

    def at(self, rows: Rows, samples: Array) -> Array:
        """Margins (len(rows), n) of `rows` at `samples` (n, d)."""
        values = self.weights[rows] @ samples.T
        values -= self.offsets[rows, None]
        if self.unlisted is not None:
            values[rows == len(self) - 1] = self.unlisted.at(samples)
        return values

    def smallest(self, units: Rows, pieces: Array) -> Array:
        """The smallest margin (U, B, m) of each unit (U, w) at `pieces` (B, m, d) of the samples.

        One product for each unit and piece: its last bits then do not depend on what else is asked for.
        """
        values = self.weights[units][:, None] @ pieces.swapaxes(1, 2)
        values -= self.offsets[units][:, None, :, None]
        if self.unlisted is not None:
            last = units == len(self) - 1
            if last.any():
                values.swapaxes(1, 2)[last] = np.stack([self.unlisted.at(piece) for piece in pieces])
        found: Array = values.min(axis=2)
        return found


def pair_margins(
    winners: Array,
    rivals: Array,
    space: EmbeddingSpace,
    unlisted: tuple[Array, Array, float] | None = None,
) -> Margins:
    """Margins of `winners` (K, d) over `rivals` (K, d), row by row.

    `unlisted` (winner, centre, outside) adds the margin of `winner` (d,) over all that is not listed.

    A sample may be off by `space.slack` from the embedding it stands for: a linear margin by slack ||w||, φ
    by slack (D + max ||v - r_a||), which is taken off.
    """
    weights = winners - rivals
    offsets = (np.einsum("kd,kd->k", winners, winners) - np.einsum("kd,kd->k", rivals, rivals)) / 2
    lower, upper = space.linear_range(weights, offsets)
    offsets = offsets + space.slack * np.linalg.norm(weights, axis=1)
    if unlisted is None:
        return Margins(weights, offsets, None, lower, upper)
    winner, centre, outside = unlisted
    outside = max(outside, 0.0)  # a distance
    farthest = space.farthest_squared(winner)
    loss = space.slack * (outside + np.sqrt(farthest))
    return Margins(
        np.append(weights, np.zeros((1, weights.shape[1])), axis=0),
        np.append(offsets, 0.0),
        Unlisted(winner, centre, outside, loss),
        np.append(lower, -farthest / 2),
        np.append(upper, outside**2 / 2),
    )
