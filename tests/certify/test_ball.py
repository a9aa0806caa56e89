"""The ball around a mean of bounded vectors, against simulated coverage and its closed form."""

import numpy as np
import pytest
from scipy.stats import binomtest

from certify.ball import mean_ball


# The first term carries the bound when alpha is large and the dimension too, the second when both are small.
@pytest.mark.parametrize(("dimension", "alpha"), [(1, 0.05), (1, 1e-3), (3, 0.3), (500, 0.9)])
def test_mean_ball_holds_the_expectation(dimension: int, alpha: float) -> None:
    n, norm_bound = 25, 2.0
    rng = np.random.default_rng(2)
    deviations = np.empty(2000)
    for i in range(len(deviations)):
        vectors = rng.standard_normal((n, dimension))
        vectors *= norm_bound / np.linalg.norm(vectors, axis=1, keepdims=True)  # expectation 0, by symmetry
        deviations[i] = np.linalg.norm(vectors.mean(axis=0))
    outside = int((deviations > mean_ball(n, alpha, norm_bound)).sum())
    assert binomtest(outside, len(deviations), alpha, "greater").pvalue > 1e-4


def test_mean_ball_closed_form() -> None:
    """n = 100 and alpha = exp(-2): 1/10 + sqrt(4/100), times the norm bound."""
    assert mean_ball(100, float(np.exp(-2)), 3.0) == pytest.approx(3 * 0.3, rel=1e-12)


def test_mean_ball_shrinks_with_more_samples_and_a_larger_alpha() -> None:
    assert mean_ball(400, 0.01) == pytest.approx(mean_ball(100, 0.01) / 2, rel=1e-12)
    assert mean_ball(100, 0.5) < mean_ball(100, 0.01) < mean_ball(100, 1e-9)
