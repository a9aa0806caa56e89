"""Method `mean`: Neyman-Pearson on the mean of the margin alone (certificates §3.3)."""

from collections.abc import Iterable

import numpy as np
from scipy.special import ndtri

from certify.intervals import empirical_bernstein_lower
from certify.margins import SLACK, Margins


def mean_radius(blocks: Iterable[Margins], sigma: float, alpha: float) -> float:
    """Radius within which every margin stays positive, from a lower bound of its mean.

    A scalar f in [lower, upper] becomes q = (f - lower) / (upper - lower) in [0, 1]. Φ⁻¹(E q(x + Z)) is
    1/σ-Lipschitz in x (Salman et al. 2019, Lemma 2), and E f > 0 is E q > q₀ = -lower / (upper - lower), so

        R = σ (Φ⁻¹(q_low) - Φ⁻¹(q₀)),                                                    (mean)

    q_low an empirical-Bernstein bound at `alpha` for every margin (see `margins.Margins`); SLACK stands for
    0. A margin whose range is all above it needs no bound (R = infinity); one whose bound is not gives 0.
    """
    return min((_radius(margins, sigma, alpha) for margins in blocks), default=float("inf"))


def _radius(margins: Margins, sigma: float, alpha: float) -> float:
    bounds = empirical_bernstein_lower(margins.values, margins.lower, margins.upper, alpha)
    in_doubt = margins.lower <= SLACK
    if not np.all(bounds[in_doubt] > SLACK):
        return 0.0
    width = (margins.upper - margins.lower)[in_doubt]
    q_low = np.minimum((bounds - margins.lower)[in_doubt] / width, 1 - 1e-15)
    q_zero = (SLACK - margins.lower[in_doubt]) / width
    radii = sigma * (ndtri(q_low) - ndtri(q_zero)) * (1 - 1e-9)
    return float(max(radii.min(initial=np.inf), 0.0))
