"""Method `paper`: the radius of Wu, Zhang, Huang (ICML 2022), the baseline (docs/certificate.md §4)."""

import numpy as np
from numpy.typing import NDArray

from certify.rivals import Rivals

Array = NDArray[np.float64]

# More than the rounding of a distance in float64, for vectors of norm about one.
SLACK = 1e-12


def lipschitz(sigma: float, norm_bound: float) -> float:
    """Lipschitz constant of g(x) = E h(x + Z), ||h|| <= F: L = F sqrt(2/π) / σ.

    For a unit vector v, <h, v> lies in [-F, F]; moving a Gaussian by δ moves the expectation of such a
    function by at most 2F (2Φ(||δ||/2σ) - 1) <= F sqrt(2/π) ||δ|| / σ.
    """
    return float(norm_bound * np.sqrt(2 / np.pi) / sigma)


def paper_radius(mean: Array, rivals: Rivals, *, epsilon: float, lipschitz: float, lost: int = 0) -> float:
    """Half the gap between the nearest winner and the nearest rival, seen from the Monte Carlo mean (d,).

    With ||mean - g(x)|| <= ε and d₁, d₂ the two distances from the mean: at x + δ the first is at most
    d₁ + ε + L||δ||, the second at least d₂ - ε - L||δ||. So

        R = (d₂ - d₁ - 2ε) / (2L).                                                       (paper)

    If so many rivals may be `lost`, d₂ is the distance of the nearest but these.
    """
    first = float(np.linalg.norm(rivals.winners - mean, axis=1).min())
    _, distances = rivals.distances(mean)
    second = float(distances[lost]) if lost < len(distances) else np.inf
    gap = second - first - 2 * epsilon - SLACK
    return max(gap / (2 * lipschitz), 0.0)
