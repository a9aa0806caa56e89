"""Method `bisector`: distance to the bisector hyperplanes instead of half the gap (certificates §3.2)."""

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
    to_winners = np.linalg.norm(listing.winners - mean, axis=1)
    to_rivals = np.linalg.norm(listing.rivals - mean, axis=1)
    depth = (listing.outside_distance(mean) - float(to_winners.min())) / 2
    if len(to_rivals):
        apart = np.linalg.norm(listing.winners[:, None, :] - listing.rivals[None, :, :], axis=2)
        signed = (to_rivals[None, :] ** 2 - to_winners[:, None] ** 2) / (2 * np.maximum(apart, SLACK))
        depth = min(depth, float(signed.max(axis=0).min()))
    return max((depth - epsilon - SLACK) / lipschitz, 0.0)
