"""Confidence bounds: what n samples say of a probability, of a mean and of a vector mean.

Each holds with probability at least 1 - alpha over the samples, for any distribution in its scope.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Array = NDArray[np.float64]


def clopper_pearson_lower(successes: NDArray[np.int64], trials: int, alpha: float) -> Array:
    """Lower confidence bound of a success probability (Clopper & Pearson 1934), one-sided at `alpha`.

    `successes` (any shape) of `trials` draws. The bound p solves P(Binomial(trials, p) >= successes) = alpha,
    which is the alpha-quantile of Beta(successes, trials - successes + 1). No success gives 0; all of them
    give alpha^(1/trials). The result is lowered by a relative 1e-9, more than the quantile's own error.
    """
    k = np.asarray(successes, dtype=np.float64)
    p = betaincinv(np.maximum(k, 1.0), trials - k + 1.0, alpha)
    return np.where(k > 0, p * (1 - 1e-9), 0.0)


def order_statistic_tail(ranks: NDArray[np.int64], trials: int, alpha: float) -> Array:
    """Lower confidence bounds p_j of P(f >= X_(i_j)), all at once, X_(1) <= ... <= X_(n) the sorted samples.

    `ranks` (J,) from 1 to `trials`. Proof. Write f = Q(U), Q the quantile function, U uniform, so that
    X_(i) = Q(U_(i)). As Q is monotone, {f >= Q(u)} contains {U >= u}: P(f >= X_(i)) >= 1 - U_(i), with or
    without atoms. U_(i) is Beta(i, n-i+1), hence 1 - U_(i) is Beta(n-i+1, i), whose (alpha/J)-quantile is
    the Clopper-Pearson bound of n-i+1 successes. The union bound over J ranks does the rest.
    """
    return clopper_pearson_lower(trials - ranks + 1, trials, alpha / len(ranks))


def empirical_bernstein_lower(values: Array, lower: Array, upper: Array, alpha: float) -> Array:
    """Lower confidence bounds (K,) of the means behind the rows of `values` (K, n), in [lower, upper] (K,).

    Maurer & Pontil (2009), Theorem 4: mean - sqrt(2 V ln(2/alpha) / n) - 7 (upper - lower) ln(2/alpha) /
    (3 (n - 1)), V the unbiased variance. Each row holds at `alpha`.
    """
    n = values.shape[1]
    if n < 2:
        return lower.copy()
    log = np.log(2 / alpha)
    spread = np.sqrt(2 * values.var(axis=1, ddof=1) * log / n)
    bound: Array = values.mean(axis=1) - spread - 7 * (upper - lower) * log / (3 * (n - 1))
    return bound.clip(min=lower)


def mean_ball(n: int, alpha: float, norm_bound: float = 1.0) -> float:
    """Radius e with ||mean of n samples - expectation|| <= e, for vectors of norm <= `norm_bound`.

    McDiarmid on the norm of the deviation, dimension-free: replacing one sample moves it by at most
    2 F / n, and its expectation is at most F / sqrt(n). So e = F (1/sqrt(n) + sqrt(2 ln(1/alpha) / n)).
    """
    return float(norm_bound * (1 / np.sqrt(n) + np.sqrt(2 * np.log(1 / alpha) / n)))
