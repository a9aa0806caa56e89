"""Method `mean`: Neyman-Pearson on the mean of the margin alone (certificates §3.3)."""

import numpy as np
from scipy.special import ndtri

from certify.intervals import empirical_bernstein_lower
from certify.margins import Margins


def mean_radius(margins: Margins, sigma: float, alpha: float) -> float:
    """Radius within which every margin stays positive, from a lower bound of its mean.

    A scalar f in [lower, upper] becomes q = (f - lower) / (upper - lower) in [0, 1]. Φ⁻¹(E q(x + Z)) is
    1/σ-Lipschitz in x (Salman et al. 2019, Lemma 2), and E f > 0 is E q > q₀ = -lower / (upper - lower), so

        R = σ (Φ⁻¹(q_low) - Φ⁻¹(q₀)),                                                    (mean)

    q_low an empirical-Bernstein bound at alpha/K for each of K margins. A margin whose range is all positive
    needs no bound (R = infinity); one whose bound is not positive gives 0.
    """
    count = len(margins.lower)
    if count == 0:
        return float("inf")
    means = empirical_bernstein_lower(margins.values, margins.lower, margins.upper, alpha / count)
    width = margins.upper - margins.lower
    open_rows = margins.lower <= 0
    if not np.all(means[open_rows] > 0):
        return 0.0
    q_low = np.minimum((means - margins.lower)[open_rows] / width[open_rows], 1 - 1e-15)
    q_zero = -margins.lower[open_rows] / width[open_rows]
    radii = sigma * (ndtri(q_low) - ndtri(q_zero)) * (1 - 1e-9)
    return float(max(radii.min(initial=np.inf), 0.0))
