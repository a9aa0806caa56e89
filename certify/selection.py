"""Choices made on the selection samples: which same-label item is set against which rival.

Whatever is chosen here is a fixed number to the certification samples, which are independent of it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from certify.kernels import best_candidates

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Samples that choose what to certify; the others certify it. Few are enough to see which items are near.
SELECTION = 128
# How far up danger is seen, in units of a margin's lower end; what is above counts as that.
SEEN_TO = 1.5


def selection_size(samples: int) -> int:
    """How many of `samples` choose what to certify: the first 128, however many follow.

    If it depended on the number of samples, each number would be another claim: whoever asked with several,
    and kept the largest radius, would have picked among several tests.
    """
    return min(SELECTION, samples)


def best_winners(
    samples: NDArray[np.floating], winners: NDArray[np.floating], rivals: NDArray[np.floating]
) -> Rows:
    """For each rival (K, d) the winner (A, d) that should stay ahead of it longest: row numbers (K,).

    The score is mean over standard deviation of the margin at `samples` (n, d). For a
    Gaussian margin the cdf bound moves every quantile by (R/σ) standard deviations, so that the radius is σ
    times this score. It needs no proof: any choice gives a valid certificate, that knows nothing of others.
    """
    some, candidates = samples.astype(np.float64), winners.astype(np.float64)
    ahead = some @ candidates.T
    means = ahead.mean(axis=0)
    ahead -= means
    found = np.zeros(len(rivals), np.int64)
    if len(winners) > 1:
        best_candidates(
            np.ascontiguousarray(rivals, np.float64), np.ascontiguousarray(some.T), ahead,
            means - np.einsum("ad,ad->a", candidates, candidates) / 2, (ahead**2).mean(axis=0), found,
        )  # fmt: skip
    return found


def danger(seen: Array, unseen: float) -> Array:
    """About the ρ (K,) that margins with masses `seen` (K, BINS + 1) over [-1, SEEN_TO] allow.

    Mean over standard deviation m/s is the ρ of a Gaussian margin. One that is as good as constant allows no
    more than what the share `unseen` of samples that may be at the lower end leaves: that at which
    (1 + m) T_ρ(1 - unseen) = 1.
    """
    knots = np.linspace(-1.0, SEEN_TO, seen.shape[1])
    total = seen.sum(axis=1)
    mean = seen @ knots / total
    spread = np.sqrt(np.maximum(seen @ knots**2 / total - mean**2, 1e-12))
    positive = np.maximum(mean, 1e-6)
    constant = np.maximum(ndtri(1 - unseen) - ndtri(1 / (1 + positive)), 1e-6)
    found: Array = np.where(mean <= 0, mean / spread, 1 / np.hypot(spread / positive, 1 / constant))
    return found
