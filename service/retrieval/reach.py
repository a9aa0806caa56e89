"""How far each rival is from getting ahead, as far as the samples let one guess. It claims nothing."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# So many of the samples tell how much margins vary.
READ = 1_024
# Of a variance: below it a margin is as good as constant.
TINY = 1e-12


def reach(samples: Array, winners: Array, rivals: Array) -> Array:
    """About how far (k,) a query can go, in units of σ, until each rival beats all winners.

    samples (n, d), winners (a, d), rivals (k, d), all of them lifted as the gallery is; a, n >= 1. It is the
    mean of the margin over its standard deviation, with the winner for which that is largest. At the query a
    smoothed mean is no steeper than the standard deviation over σ: var f(x + σZ) >= σ²||E ∇f(x + σZ)||². And
    of a Gaussian margin it is the radius of method `cdf`, without the cost of α (`certify.selection`).
    Nearness alone says less: the nearest rival is often one that no small change leads to.
    """
    mean, some = samples.mean(axis=0), samples[:READ]
    covariance = (some - some.mean(axis=0)).T @ (some - some.mean(axis=0)) / len(some)
    spread = winners @ covariance
    variances = (
        np.einsum("ad,ad->a", spread, winners)[:, None]
        + np.einsum("kd,kd->k", rivals @ covariance, rivals)
        - 2 * spread @ rivals.T
    )
    ahead, behind = (vectors @ mean - (vectors**2).sum(axis=1) / 2 for vectors in (winners, rivals))
    scores = (ahead[:, None] - behind) / np.sqrt(variances.clip(TINY))
    found: Array = scores.max(axis=0)
    return found
