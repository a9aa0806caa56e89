"""Neyman-Pearson at every level of a margin: tangents never promise too much, and nothing if well chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import norm

from certify.betting import SMALLEST
from certify.cdf import CDF, STEPS, CdfPayoffs
from certify.histogram import BINS
from certify.payoffs import LARGEST, ROUNDING, SLOPE_ROUNDING
from tests.certify.laws import (
    Array,
    Law,
    any_slopes,
    chosen,
    law,
    law_pairs,
    laws,
    laws_on_knots,
    linear_binning,
    radius,
    rhos,
    sloping,
)
from tests.certify.worlds import seeded


@seeded
@given(laws, any_slopes, rhos)
def test_whatever_the_slopes_the_mean_is_at_most_the_worst_case(
    reality: Law, log_slopes: Array, rho: float
) -> None:
    mean = reality.expectation(reality.psi(sloping(reality, log_slopes), rho))
    assert mean <= reality.worst(rho)


@seeded
@given(law_pairs, st.floats(0, 0.5), rhos, rhos)
def test_whatever_they_were_chosen_for_the_mean_is_at_most_the_worst_case(
    laws: tuple[Law, Law], unseen: float, aim: float, rho: float
) -> None:
    reality, like = laws
    payoffs = chosen(CDF, like, max(unseen, 1e-6), aim)
    assert reality.expectation(reality.psi(payoffs, rho)) <= reality.worst(rho)


@seeded
@given(laws_on_knots, st.floats(SMALLEST, 6))
def test_chosen_for_the_truth_the_mean_is_the_worst_case(reality: Law, rho: float) -> None:
    mean = reality.expectation(reality.psi(chosen(CDF, reality, 0.0, rho), rho))
    rounding = chosen(CDF, reality, 0.0, rho).rounding[0]
    assert mean == pytest.approx(reality.worst(rho), abs=2 * rounding)


@seeded
@given(laws, st.floats(1e-5, 0.5), rhos)
def test_gains_and_slopes_belong_together(like: Law, unseen: float, aim: float) -> None:
    payoffs = chosen(CDF, like, unseen, aim)
    assert isinstance(payoffs, CdfPayoffs)
    np.testing.assert_allclose(payoffs.gains, sloping(like, payoffs.log_slopes[0]).gains, rtol=1e-12)


def test_no_shift_no_loss() -> None:
    """With slopes of 1 a payoff is the margin, less what a shift of the median takes off each level."""
    reality = law(-1.0, 2.0, [(0.1, 3), (0.4, 2), (0.9, 7)])
    rho, mean = 0.3, reality.expectation(reality.values)
    payoffs = sloping(reality, np.zeros(BINS))
    loss = 3.0 * (2 * norm.cdf(rho / 2) - 1)
    expected = mean - loss - (ROUNDING + SLOPE_ROUNDING) * 4
    assert reality.expectation(reality.psi(payoffs, rho)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("unseen", [0.0, 0.001, 0.2])
@pytest.mark.parametrize("low", [1, 20, 300])
def test_two_values_in_closed_form(low: int, unseen: float) -> None:
    """-0.5 at `low` of 1000, else 1: the mean vanishes where T_rho(p) = 1/3, p the share of the ones seen."""
    share = (1 - unseen) * (1 - low / 1000)
    expected = max(ndtri(share) - ndtri(1 / 3), 0.0)
    masses = law(-0.5, 1.0, [(0.0, low), (1.0, 1000 - low)]).masses
    found = CDF.estimate(masses, np.array([-0.5]), np.array([1.0]), np.array([unseen]), LARGEST)[0]
    assert expected - LARGEST / 2**STEPS <= found <= expected


@seeded
@given(laws_on_knots, st.integers(0, 300))
def test_estimate_is_where_the_worst_case_vanishes(like: Law, unseen: int) -> None:
    """The share that is set aside lies at the lower end."""
    feared = Law(
        like.lower,
        like.upper,
        np.append(like.lower, like.values),
        np.append(unseen * like.counts.sum(), 1000 * like.counts),
    )
    share = unseen / (1000 + unseen)
    found = CDF.estimate(like.masses, *like.range, np.array([share]), LARGEST)[0]
    expected = radius(feared.worst)
    precision = LARGEST / 2**STEPS
    assert expected - precision - SMALLEST <= found <= expected + 1e-6


def test_estimate_goes_no_further_than_asked() -> None:
    like = law(-1.0, 1.0, [(0.0, 1), (1.0, 999)])
    free = CDF.estimate(like.masses, *like.range, np.zeros(1), LARGEST)[0]
    for most in (1e-3, 0.5, 1.0):
        capped = CDF.estimate(like.masses, *like.range, np.zeros(1), most)[0]
        assert most * (1 - 2.0**-STEPS) <= capped <= most < free


def test_estimate_of_a_margin_that_is_lost_is_zero() -> None:
    like = law(-1.0, 1.0, [(0.0, 5), (1.0, 4)])
    assert CDF.estimate(like.masses, *like.range, np.zeros(1), LARGEST)[0] == 0


def test_each_margin_is_estimated_by_itself() -> None:
    masses = np.random.default_rng(1).exponential(size=(4, BINS + 1)) * np.linspace(0, 1, BINS + 1) ** 2
    lower, upper = np.array([-1.0, -0.2, -0.5, -0.1]), np.array([0.9, 1.0, 2.0, 0.1])
    unseen = np.array([0.0, 0.01, 0.1, 0.3])
    alone = [
        CDF.estimate(masses[k : k + 1], lower[k : k + 1], upper[k : k + 1], unseen[k : k + 1], 4.0)[0]
        for k in range(4)
    ]
    together = CDF.estimate(masses, lower, upper, unseen, 4.0)
    np.testing.assert_allclose(together, alone, atol=4.0 / 2**STEPS)
    assert len(set(together)) == 4


def test_bins_are_fine_enough() -> None:
    """A smooth margin, 10,000 values of it: what binning costs is a small part of the radius."""
    values = np.sort(np.tanh(0.6 + norm.ppf((np.arange(10_000) + 0.5) / 10_000)))
    reality = Law(-1.0, 1.0, values, np.ones(len(values), np.int64))
    exact = radius(reality.worst)
    masses = linear_binning(values[None], *reality.range)
    estimate = CDF.estimate(masses, *reality.range, np.zeros(1), LARGEST)[0]
    assert 0.99 * exact < estimate < 1.001 * exact
    payoffs = chosen(CDF, reality, 0.0, 0.98 * exact)
    assert reality.expectation(reality.psi(payoffs, 0.98 * exact)) > 0
