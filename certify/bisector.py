"""Method `bisector`: distance to the bisector planes instead of half the gap (docs/certificate.md §4)."""

import numpy as np
from numpy.typing import NDArray

from certify.paper import SLACK
from certify.rivals import Rivals

Array = NDArray[np.float64]

# Rivals looked at before asking whether any other can matter.
BATCH = 256


def bisector_radius(mean: Array, rivals: Rivals, *, epsilon: float, lipschitz: float, lost: int = 0) -> float:
    """The nearest hyperplane between winners and rivals, over all rivals, from the Monte Carlo mean (d,).

    For items a and b, the signed distance of g to their bisector is (||g - r_b||² - ||g - r_a||²) /
    (2 ||r_a - r_b||): a 1-Lipschitz function of g, so at x + δ it is at least its value at the mean minus
    ε + L||δ||. While for each rival b the best a has a positive one, no rival is nearest:

        R = (min_b max_a (d_b² - d_a²) / (2 ||r_a - r_b||) - ε) / L.                     (bisector)

    If so many rivals may be `lost`, the minimum is over the others. As ||r_a - r_b|| <= d_a + d_b, that of b
    is at least (d_b - d_a) / 2: rivals are taken nearest first, until this is more than what was found.
    """
    nearest = float(np.linalg.norm(rivals.winners - mean, axis=1).min())
    rows, distances = rivals.distances(mean)
    depths = np.full(lost + 1, np.inf)  # the smallest
    for start in range(0, len(rows), BATCH):
        if (distances[start] - nearest) / 2 >= depths[lost]:
            break
        vectors = rivals.vectors.rows[rows[start : start + BATCH]].astype(np.float64)
        best = np.full(len(vectors), -np.inf)
        for winner in rivals.winners:
            normals = winner - vectors
            # From the midpoint, not from two squares: those of near twins differ by less than they round.
            heights = np.einsum("kd,kd->k", mean - (winner + vectors) / 2, normals)
            best = np.maximum(best, heights / np.maximum(np.linalg.norm(normals, axis=1), SLACK))
        depths = np.sort(np.concatenate([depths, best]))[: lost + 1]
    return float(max((depths[lost] - epsilon - SLACK) / lipschitz, 0.0))
