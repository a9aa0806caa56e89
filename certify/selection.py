"""Choices made on the selection samples: which same-label item is set against which rival.

Whatever is chosen here is a fixed number to the certification samples, which are independent of it.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_winners(samples: Array, candidates: Array, rivals: Array) -> NDArray[np.int64]:
    """For each rival (K, d) the candidate (A, d) that should stay ahead of it longest; indices (K,).

    The score is mean over standard deviation of the margin. For a Gaussian margin the cdf bound moves every
    quantile by (R/σ) standard deviations, so that the radius is σ times this score: the choice that matters
    for R, at the price of a covariance. It needs no proof: any choice gives a valid certificate.
    """
    mean = samples.mean(axis=0)
    covariance = np.atleast_2d(np.cov(samples, rowvar=False, ddof=0))
    weights = candidates[:, None, :] - rivals[None, :, :]
    offsets = (
        np.einsum("ad,ad->a", candidates, candidates)[:, None] - np.einsum("kd,kd->k", rivals, rivals)
    ) / 2
    margins = weights @ mean - offsets
    variances = np.einsum("akd,akd->ak", weights @ covariance, weights)
    scores: Array = margins / np.sqrt(np.maximum(variances, 0.0) + 1e-12)
    return scores.argmax(axis=0)


def best_outside_winner(samples: Array, candidates: Array, centre: Array, outside: float) -> int:
    """The candidate (A, d) with the best mean over standard deviation of `margins.outside_margin`."""
    spread = np.linalg.norm(samples - centre, axis=1)
    gaps = ((samples[None, :, :] - candidates[:, None, :]) ** 2).sum(axis=2)
    margins = np.maximum(outside - spread, 0.0)[None, :] ** 2 - gaps
    return int(np.argmax(margins.mean(axis=1) / (margins.std(axis=1) + 1e-6)))
