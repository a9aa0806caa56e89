"""Method `bisector`: distance to the bisector planes instead of half the gap (docs/certificate.md §4)."""

import numpy as np
from numpy.typing import NDArray

from certify.listing import Listing
from certify.paper import SLACK

Array = NDArray[np.float64]


def bisector_radius(mean: Array, listing: Listing, *, epsilon: float, lipschitz: float) -> float:
    """The nearest hyperplane between winners and rivals, over all rivals, from the Monte Carlo mean (d,).

    For items a and b, the signed distance of g to their bisector is (||g - r_b||² - ||g - r_a||²) /
    (2 ||r_a - r_b||): a 1-Lipschitz function of g, so at x + δ it is at least its value at the mean minus
    ε + L||δ||. While for each rival b the best a has a positive one, no rival is nearest:

        R = (min_b max_a (d_b² - d_a²) / (2 ||r_a - r_b||) - ε) / L.                     (bisector)

    As ||r_a - r_b|| <= d_a + d_b, an unlisted rival has a signed distance >= (d_b - d_a) / 2.
    """
    nearest = float(np.linalg.norm(listing.winners - mean, axis=1).min())
    depth = (listing.outside_distance(mean) - nearest) / 2
    best = np.full(len(listing.rivals), -np.inf)
    for winner in listing.winners:
        normals = winner - listing.rivals
        # From the midpoint, not from two squares: for near twins those differ by less than their rounding.
        heights = np.einsum("kd,kd->k", mean - (winner + listing.rivals) / 2, normals)
        best = np.maximum(best, heights / np.maximum(np.linalg.norm(normals, axis=1), SLACK))
    depth = min(depth, float(best.min(initial=np.inf)))
    return max((depth - epsilon - SLACK) / lipschitz, 0.0)
