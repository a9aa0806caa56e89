"""Payoffs: nobody can expect to win where the margin is lost, whatever the payoff was chosen for."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from certify.betting import SMALLEST
from certify.histogram import BINS
from certify.payoffs import LARGEST, ROUNDING, SLOPE_ROUNDING, Bound, Payoffs, joined
from tests.certify.laws import Law, bounds, chosen, law, law_pairs, laws, radius, rhos, three
from tests.certify.worlds import seeded


@bounds
@seeded
@given(law_pairs, st.floats(1e-5, 0.5), rhos, st.floats(1, 4))
def test_nobody_can_expect_to_win_where_the_margin_is_lost(
    bound: Bound,
    worst: Callable[[Law, float], float],
    laws: tuple[Law, Law],
    unseen: float,
    aim: float,
    beyond: float,
) -> None:
    """The payoff was chosen for some distribution and some rho, and meets another at another."""
    reality, like = laws
    lost = radius(lambda rho: worst(reality, rho))
    assume(lost < np.inf)
    payoffs = chosen(bound, like, unseen, aim)
    for rho in (lost, beyond * lost, LARGEST):
        assert reality.expectation(reality.psi(payoffs, rho)) <= 0


@bounds
@seeded
@given(laws, st.floats(1e-5, 0.5), rhos)
def test_gains_rise_from_zero(
    bound: Bound,
    worst: object,
    like: Law,
    unseen: float,
    aim: float,
) -> None:
    gains = chosen(bound, like, unseen, aim).gains
    assert gains.shape == (1, BINS + 1)
    assert gains[0, 0] == 0
    assert (np.diff(gains) >= 0).all()


@bounds
@seeded
@given(laws, st.floats(1e-5, 0.5), rhos, rhos, rhos)
def test_the_constant_falls_when_rho_grows(
    bound: Bound,
    worst: object,
    like: Law,
    unseen: float,
    aim: float,
    one: float,
    other: float,
) -> None:
    payoffs = chosen(bound, like, unseen, aim)
    near, far = (payoffs.constant(rho)[0] for rho in sorted((one, other)))
    assert far <= near + 1e-11 * (1 + payoffs.gains[0, -1])


@bounds
def test_what_can_be_won_falls_from_something_to_nothing(bound: Bound, worst: object) -> None:
    """A margin at -1 and 2 in equal shares: it has a mean of 0.5, and no shift of 16 leaves it positive."""
    even = law(-1.0, 2.0, [(0.0, 50), (1.0, 50)])
    payoffs = chosen(bound, even, 1e-3, 0.4)
    constants = [payoffs.constant(rho)[0] for rho in np.geomspace(0.1, 4, 40)]
    assert (np.diff(constants) < 0).all()
    assert even.expectation(even.psi(payoffs, SMALLEST)) > 0
    assert even.psi(payoffs, LARGEST).max() < 0


@bounds
@seeded
@given(laws, rhos, rhos)
def test_rounding_is_taken_off_once(
    bound: Bound,
    worst: object,
    like: Law,
    aim: float,
    rho: float,
) -> None:
    payoffs = chosen(bound, like, 1e-3, aim)
    taken = payoffs.level(rho) - payoffs.constant(rho)
    slope = np.diff(payoffs.gains[0]).max() * BINS / like.width
    assert taken[0] == pytest.approx((ROUNDING + SLOPE_ROUNDING * slope) * (1 + like.width), rel=1e-3)


def same(one: Payoffs, other: Payoffs) -> bool:
    names = [field.name for field in fields(one)]
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


@bounds
def test_each_margin_has_its_own_payoff_and_may_have_its_own_rho(bound: Bound, worst: object) -> None:
    payoffs = three(bound)
    rhos = np.array([0.2, 0.9, 3.0])
    alone = [payoffs.of(np.array([k])).constant(rho)[0] for k, rho in enumerate(rhos)]
    np.testing.assert_allclose(payoffs.constant(rhos), alone, rtol=1e-14)
    np.testing.assert_array_equal(payoffs.constant(0.9), payoffs.constant(np.full(3, 0.9)))


@bounds
def test_some_margins_by_number_or_by_mask(bound: Bound, worst: object) -> None:
    payoffs = three(bound)
    last_and_first = payoffs.of(np.array([2, 0]))
    np.testing.assert_array_equal(last_and_first.gains, payoffs.gains[[2, 0]])
    np.testing.assert_allclose(last_and_first.constant(0.7), payoffs.constant(0.7)[[2, 0]], rtol=1e-14)
    assert same(payoffs.of(np.array([True, False, True])), payoffs.of(np.array([0, 2])))
    assert len(payoffs.of(np.zeros(3, np.bool_)).constant(0.7)) == 0


@bounds
def test_joined_payoffs_follow_one_another(bound: Bound, worst: object) -> None:
    payoffs = three(bound)
    parts = [payoffs.of(np.array([0, 1])), payoffs.of(np.array([2])), payoffs.of(np.zeros(0, np.int64))]
    assert same(joined(parts), payoffs)
    assert not same(joined(parts[::-1]), payoffs)
