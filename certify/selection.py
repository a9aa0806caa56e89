"""Choices made on the selection samples: which same-label item is set against which rival.

Whatever is chosen here is a fixed number to the certification samples, which are independent of it.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_winners(samples: Array, candidates: Array, rivals: Array) -> NDArray[np.int64]:
    """For each rival (K, d) the candidate (A, d) that should stay ahead of it longest: row numbers (K,).

    The score is mean over standard deviation of the margin at `samples` (n, d). For a Gaussian margin the
    cdf bound moves every quantile by (R/σ) standard deviations, so that the radius is σ times this score.
    It needs no proof: any choice gives a valid certificate.
    """
    ahead = samples @ candidates.T - np.einsum("ad,ad->a", candidates, candidates) / 2
    behind = samples @ rivals.T - np.einsum("kd,kd->k", rivals, rivals) / 2
    means = ahead.mean(axis=0)[:, None] - behind.mean(axis=0)
    ahead -= ahead.mean(axis=0)
    behind -= behind.mean(axis=0)
    variances = (
        (ahead**2).mean(axis=0)[:, None] + (behind**2).mean(axis=0) - 2 * ahead.T @ behind / len(samples)
    )
    scores: Array = means / np.sqrt(np.maximum(variances, 0.0) + 1e-12)
    best: NDArray[np.int64] = scores.argmax(axis=0)
    return best


def best_outside_winner(samples: Array, candidates: Array, centre: Array, outside: float) -> int:
    """The candidate (A, d) with the best mean over standard deviation of `margins.outside_margin`."""
    spread = np.linalg.norm(samples - centre, axis=1)
    gaps = ((samples[None, :, :] - candidates[:, None, :]) ** 2).sum(axis=2)
    margins = np.maximum(outside - spread, 0.0)[None, :] ** 2 - gaps
    return int(np.argmax(margins.mean(axis=1) / (margins.std(axis=1) + 1e-6)))
