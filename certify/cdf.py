"""Method `cdf`: Neyman-Pearson at every level of the margin, on order statistics (certificates §3.4).

Kumar et al. 2020 (arXiv 2009.08061) for class scores; here for the margin of a retrieval pair.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from certify.intervals import order_statistic_tail
from certify.margins import SLACK, Margins

Array = NDArray[np.float64]

LEVELS = 48


def ranks(n: int, levels: int = LEVELS) -> NDArray[np.int64]:
    """The order statistics that serve as thresholds: half geometric on 1..n/4, half linear up to 0.98 n."""
    half = levels // 2
    spaced = np.concatenate(
        [np.geomspace(1, max(n / 4, 1), half), np.linspace(n / 4, 0.98 * n, levels - half)]
    )
    return np.unique(np.clip(spaced.astype(np.int64), 1, n))


def cdf_radius(blocks: Iterable[Margins], sigma: float, alpha: float) -> float:
    """Radius R such that every margin stays positive for ||δ|| < R, with probability >= 1 - `alpha`.

    Let t_0 = lower <= t_1 <= ... <= t_J be the order statistics of a margin f at `ranks`, and p_j the lower
    bounds of P(f >= t_j), all J at once. Pointwise

        f >= t_0 + Σ_j (t_j - t_{j-1}) 1[f >= t_j]                                       (telescoping)

    and by the Neyman-Pearson lemma an event of probability >= p under x + Z has probability at least
    Φ(Φ⁻¹(p) - ||δ||/σ) under x + δ + Z. Taking expectations,

        E f(x + δ + Z) >= t_0 + Σ_j (t_j - t_{j-1}) Φ(Φ⁻¹(p_j) - ||δ||/σ).               (cdf)

    The right side falls with ||δ||, so the largest ||δ|| where it is positive for every margin is found by
    bisection, keeping the lower end. Every margin has all of `alpha`: see `margins.Margins`. 0 if the right
    side is not positive at ||δ|| = 0; infinity without margins.
    """
    radius = float("inf")
    levels_of: dict[int, tuple[NDArray[np.int64], Array]] = {}  # the blocks of one query share them
    for margins in blocks:
        count, n = margins.values.shape
        if count == 0:
            continue
        if n not in levels_of:
            levels_of[n] = ranks(n), ndtri(order_statistic_tail(ranks(n), n, alpha))
        levels, tails = levels_of[n]
        ordered = np.sort(margins.values, axis=1)[:, levels - 1]
        thresholds = np.maximum(ordered, margins.lower[:, None])
        steps = np.diff(thresholds, axis=1, prepend=margins.lower[:, None])

        def worst(
            distance: float, lower: Array = margins.lower, steps: Array = steps, tails: Array = tails
        ) -> float:
            return float((lower + steps @ ndtr(tails - distance / sigma)).min())

        radius = largest_positive(worst, min(radius, 16 * sigma))
    return radius


def largest_positive(falling: Callable[[float], float], high: float) -> float:
    """The largest argument in [0, `high`] where `falling` exceeds SLACK, from below; 0 if nowhere."""
    if falling(high) > SLACK:
        return high
    low = 0.0
    if not falling(low) > SLACK:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > SLACK:
            low = middle
        else:
            high = middle
    return low
