"""Margins: the bounded scalars to which "item a stays ahead of item b" reduces (certificates §2).

For v = h(u), f_ab(v) = <v, w> - c = (||v - r_b||² - ||v - r_a||²) / 2, w = r_a - r_b and
c = (||r_a||² - ||r_b||²) / 2. Item a is nearer to g(x + δ) than b if and only if E f_ab > 0 there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.space import EmbeddingSpace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Margins:
    """Every margin that has to stay positive: K linear ones, and perhaps one for all unlisted rivals.

    samples        (n, d) the embeddings; a margin is computed where it is asked for
    weights        (K, d), offsets (K,): margin k is <v, w_k> - c_k
    outside        (n,) samples of the margin of all that is not listed, row K, or None
    lower, upper   (K,) or (K + 1,) their proven range
    """

    samples: Array
    weights: Array
    offsets: Array
    outside: Array | None
    lower: Array
    upper: Array

    def __len__(self) -> int:
        return len(self.lower)

    def at(self, rows: NDArray[np.int64], first: int, last: int) -> Array:
        """Margins (len(rows), last - first) of `rows` at samples `first` to `last` - 1."""
        linear = rows[rows < len(self.weights)]
        values = self.weights[linear] @ self.samples[first:last].T
        values -= self.offsets[linear, None]
        if len(linear) == len(rows) or self.outside is None:
            return values
        every = np.empty((len(rows), last - first))
        every[rows < len(self.weights)] = values
        every[rows == len(self.weights)] = self.outside[first:last]
        return every


def pair_margins(
    samples: Array,
    winners: Array,
    rivals: Array,
    space: EmbeddingSpace,
    unlisted: tuple[Array, Array, float] | None = None,
) -> Margins:
    """Margins of `winners` (K, d) over `rivals` (K, d), row by row.

    `unlisted` (winner, centre, outside) adds the margin of `winner` (d,) over *every* item b that is not
    listed. With ||r_b - centre|| >= D the triangle inequality gives ||v - r_b|| >= D - ||v - centre||, so
    f_ab(v) >= φ(v) = (max(D - ||v - centre||, 0)² - ||v - r_a||²) / 2 for every v, whatever b is. Hence
    E f_ab >= E φ at every perturbation: a bound on the one bounded scalar φ covers the rest of the gallery,
    as if it were one more rival. Its range: -max ||v - r_a||² / 2 to D² / 2.

    A sample may be off by `space.slack` from the embedding it stands for: a linear margin by slack ||w||, φ
    by slack (D + max ||v - r_a||), which is taken off.
    """
    weights = winners - rivals
    offsets = (np.einsum("kd,kd->k", winners, winners) - np.einsum("kd,kd->k", rivals, rivals)) / 2
    lower, upper = space.linear_range(weights, offsets)
    offsets = offsets + space.slack * np.linalg.norm(weights, axis=1)
    if unlisted is None:
        return Margins(samples, weights, offsets, None, lower, upper)
    winner, centre, outside = unlisted
    outside = max(outside, 0.0)  # a distance
    gap = samples - winner
    spread = np.linalg.norm(samples - centre, axis=1)
    values = (np.maximum(outside - spread, 0.0) ** 2 - np.einsum("nd,nd->n", gap, gap)) / 2
    farthest = space.farthest_squared(winner)
    values -= space.slack * (outside + np.sqrt(farthest))
    return Margins(
        samples, weights, offsets, values, np.append(lower, -farthest / 2), np.append(upper, outside**2 / 2)
    )
