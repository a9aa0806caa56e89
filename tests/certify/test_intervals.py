"""Confidence bounds against the equations that define them, and against exact or simulated coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from certify.cdf import ranks
from certify.intervals import (
    clopper_pearson_lower,
    empirical_bernstein_lower,
    mean_ball,
    order_statistic_tail,
)
from tests.certify.worlds import seeded

ALPHAS = [0.5, 0.05, 1e-3, 1e-6, 1e-12]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 10_000, 1_000_000])
def test_clopper_pearson_solves_the_binomial_tail_from_below(n: int, alpha: float) -> None:
    k = np.unique(np.clip([1, 2, n // 3, n // 2, n - n // 100, n - 1, n], 1, n))
    p = clopper_pearson_lower(k, n, alpha)
    # The tail P(Binomial(n, p) >= k) grows with p, so a tail of at most alpha is a p not above the solution.
    assert (binom.sf(k - 1, n, p) <= alpha).all()
    assert (binom.sf(k - 1, n, np.minimum(p * (1 + 1e-8), 1)) > alpha).all()


@seeded
@given(st.integers(1, 1_000_000), st.floats(0, 1), st.floats(1e-12, 0.5))
def test_clopper_pearson_is_never_above_the_solution(n: int, share: float, alpha: float) -> None:
    k = np.array([max(1, round(share * n))])
    assert binom.sf(k - 1, n, clopper_pearson_lower(k, n, alpha)) <= alpha


@pytest.mark.parametrize("alpha", ALPHAS)
def test_clopper_pearson_ends(alpha: float) -> None:
    for n in (1, 7, 1000, 1_000_000):
        none, every = clopper_pearson_lower(np.array([0, n]), n, alpha)
        assert none == 0
        assert every == pytest.approx(alpha ** (1 / n), rel=2e-9)
        assert every < alpha ** (1 / n)


@pytest.mark.parametrize("alpha", [0.05, 1e-3])
def test_clopper_pearson_spends_alpha_at_its_own_bounds(alpha: float) -> None:
    """Just under the bound of k successes, k or more of them are a violation: P = alpha, and never more."""
    n = 60
    bounds = clopper_pearson_lower(np.arange(n + 1), n, alpha)
    for p in np.concatenate([np.linspace(0.001, 0.999, 500), bounds[1:] * (1 - 1e-7)]):
        assert binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() <= alpha
    below = bounds[1:] * (1 - 1e-7)
    violated = [binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() for p in below]
    np.testing.assert_allclose(violated, alpha, rtol=1e-4)


def band_violations(atoms: int | None, levels: NDArray[np.int64], tails: NDArray[np.float64]) -> int:
    """Of 2,000 samples of 60, how many have some P(f >= X_(i)) below its bound; f uniform, or on `atoms`."""
    uniform = np.random.default_rng(1).random((2000, 60))
    values = uniform if atoms is None else np.floor(uniform * atoms) / atoms
    at_least = 1 - np.sort(values, axis=1)[:, levels - 1]
    return int((at_least < tails).any(axis=1).sum())


@pytest.mark.parametrize("atoms", [None, 2, 5])
def test_all_order_statistics_hold_at_once(atoms: int | None) -> None:
    levels = ranks(60)
    violations = band_violations(atoms, levels, order_statistic_tail(levels, 60, 0.2))
    assert binomtest(violations, 2000, 0.2, "greater").pvalue > 1e-4


def test_order_statistics_each_at_alpha_do_not_hold_at_once() -> None:
    levels = ranks(60)
    one_by_one = np.concatenate(
        [order_statistic_tail(levels[i : i + 1], 60, 0.2) for i in range(len(levels))]
    )
    assert binomtest(band_violations(None, levels, one_by_one), 2000, 0.2, "greater").pvalue < 1e-4


def test_order_statistic_tail_of_one_rank() -> None:
    """1 - U is uniform too: the alpha-quantiles of the largest and of the smallest of n uniforms."""
    smallest, largest = (order_statistic_tail(np.array([i]), 20, 0.05)[0] for i in (1, 20))
    assert smallest == pytest.approx(0.05 ** (1 / 20), rel=2e-9)
    assert largest == pytest.approx(1 - 0.95 ** (1 / 20), rel=2e-9)


def bound_of(values: NDArray[np.float64], lower: float, upper: float, alpha: float) -> NDArray[np.float64]:
    rows = len(values)
    return empirical_bernstein_lower(values, np.full(rows, lower), np.full(rows, upper), alpha)


def bernoulli_bounds(n: int, alpha: float) -> NDArray[np.float64]:
    values = np.tril(np.ones((n + 1, n)), -1)  # row k holds k ones
    return bound_of(values, 0.0, 1.0, alpha)


@pytest.mark.parametrize("alpha", [0.5, 0.05])
@pytest.mark.parametrize("n", [2, 20, 300])
def test_empirical_bernstein_covers_every_bernoulli(n: int, alpha: float) -> None:
    """Exact: the bound of k ones is a violation with the probability of k ones."""
    bounds = bernoulli_bounds(n, alpha)
    for p in np.linspace(0.001, 0.999, 200):
        assert binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() <= alpha


def test_empirical_bernstein_closed_form() -> None:
    """alpha = 2/e makes the logarithm one. 50 zeros and 50 ones: V = 25/99."""
    bound = bound_of(np.repeat([[0.0, 1.0]], 50, 1), 0.0, 1.0, 2 / np.e)
    assert bound[0] == pytest.approx(0.5 - np.sqrt(2 * 25 / 99 / 100) - 7 / (3 * 99), rel=1e-12)


@seeded
@given(st.integers(0, 2**32), st.floats(0.01, 10), st.floats(-5, 5))
def test_empirical_bernstein_moves_with_the_scale(seed: int, factor: float, shift: float) -> None:
    values = np.random.default_rng(seed).random((3, 40))
    bound = bound_of(values, 0.0, 1.0, 0.01)
    moved = bound_of(factor * values + shift, shift, factor + shift, 0.01)
    np.testing.assert_allclose(moved, factor * bound + shift, atol=1e-12)


def test_empirical_bernstein_knows_the_range_and_no_more_from_one_sample() -> None:
    assert bound_of(np.array([[2.5]]), -2.0, 3.0, 0.05)[0] == -2
    assert bound_of(np.array([[-1.9, 2.5]]), -2.0, 3.0, 1e-9)[0] == -2


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
