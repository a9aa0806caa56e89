"""Margins: the bounded scalars to which "item a stays ahead of item b" reduces (certificates §2).

For v = h(u), f_ab(v) = <v, w> - c = (||v - r_b||² - ||v - r_a||²) / 2, w = r_a - r_b and
c = (||r_a||² - ||r_b||²) / 2. Item a is nearer to g(x + δ) than b if and only if E f_ab > 0 there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.space import EmbeddingSpace

Array = NDArray[np.float64]

# A bound on the mean of a margin has to exceed this, not 0: more than the rounding of a margin in float64.
SLACK = 1e-9


@dataclass(frozen=True)
class Margins:
    """One row for each margin that has to stay positive: its samples (K, n) and its proven range (K,).

    A bound R_k on each margin at level α makes min_k R_k a bound at level α for all of them, *without* α/K:
    let k* be the margin with the smallest true radius R*. It is fixed before the certification samples are
    drawn, and min_k R_k > R* implies R_k* > R*, which has probability at most α (an intersection-union
    test). No other margin can make the minimum too large.

    So the bounds take margins in blocks of rows: all at once, thousands of rivals at 100,000 samples would
    fill the memory.
    """

    values: Array
    lower: Array
    upper: Array


def pair_margins(samples: Array, winners: Array, rivals: Array, space: EmbeddingSpace) -> Margins:
    """Margins of `winners` (K, d) over `rivals` (K, d), row by row, at `samples` (n, d)."""
    weights = winners - rivals
    offsets = (np.einsum("kd,kd->k", winners, winners) - np.einsum("kd,kd->k", rivals, rivals)) / 2
    lower, upper = space.linear_range(weights, offsets)
    values = weights @ samples.T
    values -= offsets[:, None]
    return Margins(values, lower, upper)


def outside_margin(
    samples: Array, winner: Array, centre: Array, outside: float, space: EmbeddingSpace
) -> Margins:
    """One margin of `winner` (d,) that is below its margin over *every* item not listed.

    For an item b with ||r_b - centre|| >= D the triangle inequality gives ||v - r_b|| >= D - ||v - centre||,
    so f_ab(v) >= φ(v) = (max(D - ||v - centre||, 0)² - ||v - r_a||²) / 2 for every v, whatever b is. Hence
    E f_ab >= E φ at every perturbation: a bound on the one bounded scalar φ covers the rest of the gallery,
    as if it were one more rival. Lower end: -max ||v - r_a||² / 2; upper end: D² / 2.
    """
    spread = np.linalg.norm(samples - centre, axis=1)
    gap = samples - winner
    values = (np.maximum(outside - spread, 0.0) ** 2 - np.einsum("nd,nd->n", gap, gap)) / 2
    return Margins(
        values[None, :], np.array([-space.farthest_squared(winner) / 2]), np.array([outside**2 / 2])
    )
