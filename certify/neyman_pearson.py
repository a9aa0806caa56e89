"""The Neyman-Pearson curve of a shifted Gaussian, and its tangents (docs/certificate.md §4).

ρ = ||δ||/σ throughout: the length of a perturbation in standard deviations of the noise.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

# Tails are kept this far from 0 and 1, where the quantile function is not finite.
EDGE = 1e-12


def quantile(tails: Array) -> Array:
    """Φ⁻¹ of probabilities, which are first moved into [EDGE, 1 - EDGE]."""
    found: Array = ndtri(np.clip(tails, EDGE, 1 - EDGE))
    return found


def shifted(quantiles: Array, rho: Array | float) -> Array:
    """T_ρ(p) = Φ(Φ⁻¹(p) - ρ) at `quantiles` Φ⁻¹(p).

    The Neyman-Pearson lemma: among all events of probability at least p under N(x, σ²I), a half-space has
    the least probability under N(x + δ, σ²I), and it is T_ρ(p).
    """
    probability: Array = ndtr(quantiles - rho)
    return probability


def log_slope(quantiles: Array, rho: Array | float) -> Array:
    """ln T_ρ'(p) = ρ Φ⁻¹(p) - ρ²/2: it rises with p, so T_ρ is convex and lies above its tangents."""
    return rho * quantiles - np.square(rho) / 2


def intercept(log_slopes: Array, rho: Array | float) -> Array:
    """Where the tangent of T_ρ with slope s = exp(`log_slopes`) meets p = 0: min_p T_ρ(p) - s p.

    It touches T_ρ where Φ⁻¹(p) = ln s / ρ + ρ/2, so the intercept is Φ(ln s/ρ - ρ/2) - s Φ(ln s/ρ + ρ/2).
    As T_ρ falls when ρ grows, so does the intercept of a given slope. `rho` > 0.
    """
    middle = log_slopes / rho
    found: Array = ndtr(middle - rho / 2) - np.exp(log_slopes) * ndtr(middle + rho / 2)
    return found
