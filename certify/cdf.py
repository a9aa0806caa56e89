"""Method `cdf`: Neyman-Pearson at every level of the margin (docs/certificate.md §4).

Kumar et al. 2020 (arXiv 2009.08061) for class scores; here for the margin of a retrieval pair, and with the
curve of the lemma replaced by its tangents, so that one bounded scalar has to be tested and not every level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify.histogram import BINS, tails
from certify.neyman_pearson import intercept, log_slope, quantile, shifted
from certify.payoffs import Bound, Payoffs

Array = NDArray[np.float64]

# Halvings of an interval of ρ: a guess need not be finer.
STEPS = 14


@dataclass(frozen=True)
class CdfPayoffs(Payoffs):
    """ψ_ρ(f) = lower + ∫ i_ρ(s_t) dt + ∫_{t <= f} s_t dt, the integrals over [lower, upper].         (cdf)

    Proof. f = lower + ∫ 1[f >= t] dt. By the Neyman-Pearson lemma an event of probability p under x + Z has
    probability at least T_ρ(p) = Φ(Φ⁻¹(p) - ρ) under x + δ + Z, so that

        E f(x + δ + Z) >= W_ρ = lower + ∫ T_ρ(P(f(x + Z) >= t)) dt.

    T_ρ is convex: it lies above its tangent of any slope s, i_ρ(s) + s p. With slopes s_t chosen as one
    likes, W_ρ >= lower + ∫ (i_ρ(s_t) + s_t P(f(x + Z) >= t)) dt = E ψ_ρ(f(x + Z)). Equality for the slopes
    T_ρ'(P(f(x + Z) >= t)). The slopes stay as they are when ρ changes, and i_ρ(s) falls with ρ.

    log_slopes  (K, BINS) ln s_t, the same within an interval between knots
    """

    log_slopes: Array

    def level(self, rho: Array | float) -> Array:  # noqa: D102, see Payoffs
        each = intercept(self.log_slopes, np.reshape(rho, (-1, 1)))
        level: Array = self.lower + (self.upper - self.lower) / BINS * each.sum(axis=1)
        return level


def _estimate(masses: Array, lower: Array, upper: Array, unseen: Array, most: float) -> Array:
    quantiles = quantile((1 - unseen[:, None]) * tails(masses))
    widths = (upper - lower) / BINS
    low, high = np.zeros(len(lower)), np.full(len(lower), most)
    for _ in range(STEPS):
        middle = (low + high) / 2
        positive = lower + widths * shifted(quantiles, middle[:, None]).sum(axis=1) > 0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    return low


def _choose(masses: Array, lower: Array, upper: Array, unseen: Array, rho: Array) -> CdfPayoffs:
    log_slopes = log_slope(quantile((1 - unseen[:, None]) * tails(masses)), rho[:, None])
    gains = np.zeros((len(lower), BINS + 1))
    np.cumsum(((upper - lower) / BINS)[:, None] * np.exp(log_slopes), axis=1, out=gains[:, 1:])
    return CdfPayoffs(lower, upper, gains, log_slopes)


def _cap(reached: Array) -> float:
    return 1.5 * float(reached.max())


CDF = Bound(_estimate, _choose, _cap)
