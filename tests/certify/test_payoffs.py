"""Payoffs: nobody can expect to win where the margin is lost, whatever the payoff was chosen for."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from certify.betting import SMALLEST
from certify.cdf import CDF
from certify.histogram import BINS, linear_binning
from certify.mean import MEAN
from certify.payoffs import LARGEST, ROUNDING, SLOPE_ROUNDING, Bound, Payoffs
from tests.certify.worlds import seeded

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """A distribution of a margin in [lower, upper]: values (m,) in rising order, and how often each comes."""

    lower: float
    upper: float
    values: Array
    counts: NDArray[np.int64]

    @property
    def width(self) -> float:
        return self.upper - self.lower

    def expectation(self, of: Array) -> float:
        """The mean of something that is of[j] where the margin is values[j]."""
        return float(self.counts @ of / self.counts.sum())

    def worst(self, rho: float) -> float:
        """The least mean after a shift of rho that this distribution allows: each {f >= t} a half-space."""
        above = np.cumsum(self.counts[::-1])[::-1] / self.counts.sum()
        steps = np.diff(self.values)
        return float(self.values[0] + steps @ ndtr(ndtri(above[1:]) - rho))

    def worst_of_mean(self, rho: float) -> float:
        """The least mean after a shift of rho that the mean and the range allow: two values, a half-space."""
        share = (self.expectation(self.values) - self.lower) / self.width
        return float(self.lower + self.width * ndtr(ndtri(share) - rho))

    def psi(self, payoffs: Payoffs, rho: float) -> Array:
        """The payoff at each value: gains are linear between knots."""
        knots = np.linspace(self.lower, self.upper, BINS + 1)
        return np.interp(self.values, knots, payoffs.gains[0]) + payoffs.constant(rho)[0]

    @property
    def range(self) -> tuple[Array, Array]:
        return np.array([self.lower]), np.array([self.upper])

    @property
    def masses(self) -> Array:
        each = linear_binning(self.values[:, None], *(np.repeat(end, len(self.values)) for end in self.range))
        masses: Array = self.counts @ each
        return masses[None, :]


Outcomes = list[tuple[float, int]]
# Where in its range a margin may lie, on a knot or between, and how often it does.
spots = st.one_of(st.integers(0, BINS).map(lambda knot: knot / BINS), st.floats(0, 1))
outcomes = st.lists(st.tuples(spots, st.integers(1, 10_000)), min_size=1, max_size=7)
# On knots only, and on the lowest now and then: nothing is lost by binning, and no tail is 1.
on_knots = st.builds(
    lambda lowest, others: [(0.0, lowest), *((knot / BINS, count) for knot, count in others)],
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(1, BINS), st.integers(1, 5000)), min_size=1, max_size=7),
)
lowers, uppers = st.floats(-2, -0.05), st.floats(0.05, 2)
log_slopes = st.floats(-30, 10)
rhos = st.floats(SMALLEST, LARGEST)
bounds = pytest.mark.parametrize(
    ("bound", "worst"), [(CDF, Law.worst), (MEAN, Law.worst_of_mean)], ids=["cdf", "mean"]
)


def law(lower: float, upper: float, outcomes: Outcomes) -> Law:
    shares, counts = np.array(outcomes).T
    order = np.argsort(shares, kind="stable")
    values = np.minimum(lower + shares[order] * (upper - lower), upper)
    return Law(lower, upper, values, counts[order].astype(np.int64))


def radius(worst: Callable[[float], float]) -> float:
    """The smallest rho at which `worst` is not positive any more, from above; infinity if it stays so."""
    if worst(SMALLEST) <= 0:
        return SMALLEST
    if worst(LARGEST) > 0:
        return np.inf
    rho = float(brentq(worst, SMALLEST, LARGEST, xtol=1e-12))
    while worst(rho) > 0:
        rho += 1e-10
    return rho


def chosen(bound: Bound, like: Law, unseen: float, rho: float) -> Payoffs:
    return bound.choose(like.masses, *like.range, np.array([unseen]), np.array([rho]))


@bounds
@seeded
@given(lowers, uppers, outcomes, outcomes, st.floats(1e-5, 0.5), rhos, st.floats(1, 4))
def test_nobody_can_expect_to_win_where_the_margin_is_lost(
    bound: Bound,
    worst: Callable[[Law, float], float],
    lower: float,
    upper: float,
    true: Outcomes,
    expected: Outcomes,
    unseen: float,
    aim: float,
    beyond: float,
) -> None:
    """The payoff was chosen for some distribution and some rho, and meets another at another."""
    reality = law(lower, upper, true)
    lost = radius(lambda rho: worst(reality, rho))
    assume(lost < np.inf)
    payoffs = chosen(bound, law(lower, upper, expected), unseen, aim)
    for rho in (lost, beyond * lost, LARGEST):
        assert reality.expectation(reality.psi(payoffs, rho)) <= 0


@bounds
@seeded
@given(lowers, uppers, outcomes, st.floats(1e-5, 0.5), rhos)
def test_gains_rise_from_zero(
    bound: Bound,
    worst: object,
    lower: float,
    upper: float,
    expected: Outcomes,
    unseen: float,
    aim: float,
) -> None:
    gains = chosen(bound, law(lower, upper, expected), unseen, aim).gains
    assert gains.shape == (1, BINS + 1)
    assert gains[0, 0] == 0
    assert (np.diff(gains) >= 0).all()


@bounds
@seeded
@given(lowers, uppers, outcomes, st.floats(1e-5, 0.5), rhos, rhos, rhos)
def test_the_constant_falls_when_rho_grows(
    bound: Bound,
    worst: object,
    lower: float,
    upper: float,
    expected: Outcomes,
    unseen: float,
    aim: float,
    one: float,
    other: float,
) -> None:
    payoffs = chosen(bound, law(lower, upper, expected), unseen, aim)
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
@given(lowers, uppers, outcomes, rhos, rhos)
def test_rounding_is_taken_off_once(
    bound: Bound,
    worst: object,
    lower: float,
    upper: float,
    expected: Outcomes,
    aim: float,
    rho: float,
) -> None:
    payoffs = chosen(bound, law(lower, upper, expected), 1e-3, aim)
    taken = payoffs.level(rho) - payoffs.constant(rho)
    slope = np.diff(payoffs.gains[0]).max() * BINS / (upper - lower)
    assert taken[0] == pytest.approx((ROUNDING + SLOPE_ROUNDING * slope) * (1 + upper - lower), rel=1e-3)


def three(bound: Bound) -> Payoffs:
    """Payoffs for three margins of different ranges, distributions and radii."""
    lower, upper = np.array([-1.0, -0.3, -2.0]), np.array([1.0, 0.5, 0.4])
    masses = np.random.default_rng(0).exponential(size=(3, BINS + 1))
    return bound.choose(masses, lower, upper, np.array([1e-3, 0.01, 0.2]), np.array([0.3, 1.0, 2.0]))


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
    assert same(Payoffs.joined(parts), payoffs)
    assert not same(Payoffs.joined(parts[::-1]), payoffs)
