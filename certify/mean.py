"""Method `mean`: Neyman-Pearson on the mean of the margin alone (docs/certificate.md §4)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from certify.histogram import BINS
from certify.neyman_pearson import EDGE, quantile
from certify.payoffs import Bound, Payoffs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeanPayoffs(Payoffs):
    """ψ_ρ(f) = f - (lower + (upper - lower) Φ(Φ⁻¹(q₀) + ρ)), q₀ = -lower / (upper - lower).      (mean)

    q = (f - lower) / (upper - lower) lies in [0, 1], and Φ⁻¹(E q(x + Z)) is 1/σ-Lipschitz in x (Salman et al.
    2019, Lemma 2): so E f(x + δ + Z) > 0, which is E q > q₀ there, if Φ⁻¹(E q(x + Z)) > Φ⁻¹(q₀) + ρ. That
    gives the radius R = σ (Φ⁻¹(E q) - Φ⁻¹(q₀)).
    """

    def level(self, rho: Array | float) -> Array:  # noqa: D102, see Payoffs
        width = self.upper - self.lower
        level: Array = -width * ndtr(_zero(self.lower, width) + rho)
        return level


def _zero(lower: Array, width: Array) -> Array:
    """Φ⁻¹(q₀); a lower end just above 0 is taken for 0."""
    zero: Array = ndtri(np.maximum(-lower / width, EDGE))
    return zero


def _estimate(masses: Array, lower: Array, upper: Array, unseen: Array, most: float) -> Array:
    shares = (masses * (np.arange(BINS + 1) / BINS)).sum(axis=1) / masses.sum(axis=1)
    return (quantile((1 - unseen) * shares) - _zero(lower, upper - lower)).clip(0.0, most)


def _choose(masses: Array, lower: Array, upper: Array, unseen: Array, rho: Array) -> MeanPayoffs:
    return MeanPayoffs(lower, upper, (upper - lower)[:, None] * (np.arange(BINS + 1) / BINS))


def _cap(reached: Array) -> float:
    """The upper end of the range counts in this bound: what the worst margin hardly reaches only costs it."""
    return 0.7 * float(reached[0])


MEAN = Bound(_estimate, _choose, _cap)
