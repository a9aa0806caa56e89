"""Neyman-Pearson on the mean of a margin: as if it had two values, one of them on a half-space."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtri

from certify.betting import SMALLEST
from certify.histogram import BINS
from certify.mean import MEAN
from certify.payoffs import LARGEST, ROUNDING
from tests.certify.laws import Law, chosen, law, law_pairs, laws, radius, rhos
from tests.certify.worlds import seeded


def closed_form(reality: Law, unseen: float = 0.0) -> float:
    """Φ⁻¹ of where the mean lies in the range, less Φ⁻¹ of where 0 does."""
    share = max((reality.expectation(reality.values) - reality.lower) / reality.width, 0.0)
    return float(ndtri((1 - unseen) * share) - ndtri(-reality.lower / reality.width))


@seeded
@given(law_pairs, rhos)
def test_a_payoff_is_won_on_average_only_where_the_worst_case_is_positive(
    laws: tuple[Law, Law], rho: float
) -> None:
    reality, like = laws
    mean = reality.expectation(reality.psi(chosen(MEAN, like, 0.1, 1.0), rho))
    assert mean <= 0 or reality.worst_of_mean(rho) > 0
    # What is known of the whole distribution can only help.
    assert reality.worst_of_mean(rho) <= reality.worst(rho) + 1e-12


@seeded
@given(laws)
def test_and_it_is_won_up_to_there(reality: Law) -> None:
    lost = closed_form(reality)
    assume(0.01 < lost < 6)
    assert radius(reality.worst_of_mean) == pytest.approx(lost, abs=1e-9)
    payoffs = chosen(MEAN, reality, 0.1, 1.0)
    assert reality.expectation(reality.psi(payoffs, lost)) == pytest.approx(
        0, abs=1.1 * ROUNDING * (1 + reality.width)
    )
    assert reality.expectation(reality.psi(payoffs, lost - 1e-3)) > 0


@seeded
@given(laws)
def test_the_payoff_is_the_margin_less_a_constant(like: Law) -> None:
    gains = chosen(MEAN, like, 0.1, 1.0).gains[0]
    np.testing.assert_allclose(like.lower + gains, np.linspace(like.lower, like.upper, BINS + 1), atol=1e-12)


@pytest.mark.parametrize("unseen", [0.0, 0.001, 0.2])
@pytest.mark.parametrize("low", [1, 20, 300])
def test_two_values_in_closed_form(low: int, unseen: float) -> None:
    like = law(-0.5, 1.0, [(0.0, low), (1.0, 1000 - low)])
    found = MEAN.estimate(like.masses, *like.range, np.array([unseen]), LARGEST)[0]
    expected = ndtri((1 - unseen) * (1 - low / 1000)) - ndtri(1 / 3)
    assert found == pytest.approx(max(expected, 0.0), abs=1e-9)


@seeded
@given(laws, st.floats(1e-3, 0.5), st.floats(SMALLEST, LARGEST))
def test_estimate_in_closed_form_and_no_further_than_asked(like: Law, unseen: float, most: float) -> None:
    found = MEAN.estimate(like.masses, *like.range, np.array([unseen]), most)[0]
    assert found == pytest.approx(np.clip(closed_form(like, unseen), 0, most), abs=1e-7)


def test_a_lower_end_just_above_zero_is_taken_for_zero() -> None:
    masses = np.ones((3, BINS + 1))
    lower, upper = np.array([0.0, 1e-15, 1e-9]), np.ones(3)
    payoffs = MEAN.choose(masses, lower, upper, np.full(3, 0.1), np.ones(3))
    levels = payoffs.level(2.0)
    np.testing.assert_allclose(levels, levels[0], rtol=1e-8)
    assert (levels < 0).all()
    estimates = MEAN.estimate(masses, lower, upper, np.zeros(3), LARGEST)
    assert np.isfinite(estimates).all()
    assert (estimates > 5).all()
