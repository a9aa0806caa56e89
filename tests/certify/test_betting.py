"""Bets: nobody can expect wealth to grow where the margin is lost, and it grows best where it is not."""

from collections.abc import Callable
from dataclasses import replace
from math import log, log1p

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from certify.betting import LEFT, SMALLEST, UNSEEN, Plan, best_stakes, plan
from certify.betting import STEPS as HALVINGS
from certify.cdf import CDF
from certify.histogram import BINS
from certify.mean import MEAN
from certify.payoffs import LARGEST, Bound, Payoffs
from tests.certify.laws import (
    Array,
    Law,
    any_slopes,
    bounds,
    chosen,
    growth,
    law,
    law_pairs,
    laws,
    laws_on_knots,
    linear_binning,
    radius,
    rhos,
    sloping,
    three,
)
from tests.certify.worlds import seeded

THRESHOLD = log(1000)
# A stake as a multiple of the largest that is possible at some rho: it has to be cut beyond that rho.
greed = st.one_of(st.floats(0, 1), st.floats(1, 100))


def factors(payoffs: Payoffs, stake: float, rho: float) -> Array:
    """By what wealth is multiplied for a sample at each knot."""
    each = np.zeros(BINS + 1, np.int64)
    return np.exp(growth(payoffs.of(each), np.full(BINS + 1, stake), np.eye(BINS + 1), rho))


def wealth_factor(reality: Law, payoffs: Payoffs, stake: float, rho: float) -> float:
    """What wealth is expected to be multiplied by for one sample, values between knots included."""
    each = np.zeros(len(reality.values), np.int64)
    masses = linear_binning(reality.values[:, None], *(end[each] for end in reality.range))
    won = growth(payoffs.of(each), np.full(len(each), stake), masses, rho)
    return reality.expectation(np.exp(won))


def largest_stake(payoffs: Payoffs, rho: float) -> float:
    return float(-1 / payoffs.constant(rho)[0])


# E (wealth factor) <= 1


@bounds
@seeded
@given(law_pairs, st.floats(1e-5, 0.5), st.floats(0.2, 5), greed, st.floats(1, 4))
def test_nobody_can_expect_wealth_to_grow_where_the_margin_is_lost(
    bound: Bound,
    worst: Callable[[Law, float], float],
    laws: tuple[Law, Law],
    unseen: float,
    aim: float,
    greed: float,
    beyond: float,
) -> None:
    """Chosen for any distribution, aim and stake, also where the stake has to be cut."""
    reality, like = laws
    lost = radius(lambda rho: worst(reality, rho))
    assume(lost < np.inf)
    payoffs = chosen(bound, like, unseen, min(aim * lost, LARGEST))
    stake = greed * largest_stake(payoffs, lost)
    for rho in (lost, beyond * lost, LARGEST):
        assert wealth_factor(reality, payoffs, stake, rho) <= 1 + 1e-12


@bounds
@pytest.mark.parametrize("beyond", [1.0, 1.01, 1.5, 3.0])
@seeded
@given(laws_on_knots, greed)
def test_nor_with_the_best_payoff_for_the_truth(
    bound: Bound,
    worst: Callable[[Law, float], float],
    beyond: float,
    reality: Law,
    greed: float,
) -> None:
    """The tightest case: at `lost` itself the payoff has mean 0, but for rounding."""
    lost = radius(lambda rho: worst(reality, rho))
    payoffs = chosen(bound, reality, 1e-12, lost)
    stake = greed * largest_stake(payoffs, lost)
    factor = wealth_factor(reality, payoffs, stake, beyond * lost)
    assert factor <= 1 + 1e-12
    if beyond == 1 and 0.1 < lost < 3:
        assert factor == pytest.approx(1, abs=1e-5)


@seeded
@given(laws, any_slopes, greed, rhos)
def test_nor_with_any_slopes(reality: Law, log_slopes: Array, greed: float, rho: float) -> None:
    assume(reality.worst(rho) <= 0)
    payoffs = sloping(reality, log_slopes)
    assert wealth_factor(reality, payoffs, greed * largest_stake(payoffs, rho), rho) <= 1 + 1e-12


# Growth


def by_hand(payoffs: Payoffs, stakes: Array, masses: Array, k: int, rho: float) -> float:
    """The growth of bet k, sample by sample (mass by mass)."""
    loss, rounding = -float(payoffs.constant(rho)[k]), float(payoffs.rounding[k])
    stake = float(stakes[k])
    if loss > 0 and stake > (1 - LEFT) / loss:  # all that can be staked
        stake = (1 - LEFT) / loss
    found = 0.0
    for gain, mass in zip(payoffs.gains[k].tolist(), masses[k].tolist(), strict=True):
        if mass == 0:
            continue
        found += mass * log1p(stake * (gain - loss - rounding))
    return found


@bounds
@seeded
@given(arrays(np.float64, 3, elements=st.floats(0, 3)), st.integers(0, 2**32), rhos)
def test_growth_is_the_sum_of_logarithms(
    bound: Bound, worst: object, stakes: Array, seed: int, rho: float
) -> None:
    """Nothing is met at the lower end: all that can be staked may be lost there."""
    masses = np.random.default_rng(seed).exponential(size=(3, BINS + 1))
    masses[:, 0] = 0
    masses[:, 7:11] = 0
    expected = [by_hand(three(bound), stakes, masses, k, rho) for k in range(3)]
    np.testing.assert_allclose(growth(three(bound), stakes, masses, rho), expected, rtol=1e-9, atol=1e-9)


@bounds
def test_all_that_is_staked_can_be_lost_but_for_a_thousandth(bound: Bound, worst: object) -> None:
    """A loss of exactly 1, stakes of one and more: hardly anything is left of a sample at the lower end."""
    payoffs = three(bound).of(np.array([0, 0, 0]))
    rho = 0.7
    stakes = np.array([0.9, 1.0, 40.0]) * largest_stake(payoffs, rho)
    masses = np.zeros((3, BINS + 1))
    masses[:, 0] = 1
    left = np.exp(growth(payoffs, stakes, masses, rho))
    np.testing.assert_allclose(left, [0.1, LEFT, LEFT], atol=1e-7)
    masses[:, [0, -1]] = masses[:, [-1, 0]]
    found = growth(payoffs, stakes, masses, rho)
    assert found[0] < found[1] == pytest.approx(found[2], rel=1e-12)


def test_nothing_met_and_nothing_staked_is_no_growth() -> None:
    stakes = np.array([0.0, 1e300, 0.5])
    masses = np.zeros((3, BINS + 1))
    masses[0, [0, 5]] = 3.0
    found = growth(three(CDF), stakes, masses, 2.0)
    assert ((found <= 0) & (found > -1e-13)).all()


@bounds
@seeded
@given(laws, st.floats(1e-5, 0.5), rhos, st.floats(0, 200), rhos, rhos)
def test_growth_falls_when_rho_grows(
    bound: Bound,
    worst: object,
    like: Law,
    unseen: float,
    aim: float,
    stake: float,
    one: float,
    other: float,
) -> None:
    """At every knot, and so for all samples."""
    payoffs = chosen(bound, like, unseen, aim)
    near, far = (factors(payoffs, stake, rho) for rho in sorted((one, other)))
    assert (far <= near * (1 + 1e-9) + 1e-6).all()


@bounds
def test_growth_falls_across_the_rho_where_the_stake_is_cut(bound: Bound, worst: object) -> None:
    payoffs = three(bound).of(np.array([0]))
    stake = largest_stake(payoffs, 1.0)
    found = np.array([factors(payoffs, stake, rho)[1:] for rho in np.linspace(0.8, 1.2, 81)])
    assert (np.diff(found, axis=0) < 0).all()
    assert abs(np.diff(found, axis=0)).max() < 0.05 * found.max()


@bounds
@seeded
@given(law_pairs, st.floats(0.05, 4), greed, st.floats(0.05, 4))
def test_growth_is_never_above_that_of_the_samples_themselves(
    bound: Bound,
    worst: object,
    laws: tuple[Law, Law],
    aim: float,
    greed: float,
    rho: float,
) -> None:
    """Binned, a margin wins no more than its payoff is at its very values."""
    reality, like = laws
    payoffs = chosen(bound, like, 1e-3, aim)
    stake = greed * largest_stake(payoffs, aim)
    binned = growth(payoffs, np.array([stake]), reality.masses, rho)[0]
    possible = min(stake, (1 - LEFT) * largest_stake(payoffs, rho))
    left = np.maximum(1 + possible * reality.psi(payoffs, rho), 1e-15)  # where rounding may leave something
    assert binned <= reality.counts @ np.log(left) + 1e-6 * (1 + reality.counts.sum())


# Several


def some_plan(bound: Bound, seed: int) -> Plan:
    rng = np.random.default_rng(seed)
    return Plan(rng.uniform(0.1, 2, 3), three(bound), rng.uniform(0, 0.3, 3), rng.uniform(0, 0.5, 3))


@bounds
def test_what_is_no_number_wins_nothing(bound: Bound, worst: object) -> None:
    some = some_plan(bound, 0)
    gains = some.payoffs.gains.copy()
    gains[1, 3] = np.nan
    logs = replace(some, payoffs=replace(some.payoffs, gains=gains)).log_factors(0.5)
    assert (logs[1] < -1e299).all()  # the rounding of its payoff is no number either
    assert (logs[[0, 2]] == some.log_factors(0.5)[[0, 2]]).all()


@bounds
def test_plans_follow_one_another(bound: Bound, worst: object) -> None:
    plans = [some_plan(bound, seed) for seed in range(4)]
    factors = Plan.joined(plans).log_factors(0.6).reshape(4, 3, BINS + 1)
    np.testing.assert_array_equal(factors, [plan.log_factors(0.6) for plan in plans])
    assert len(set(factors[:, :, -1].ravel())) == 12


@bounds
def test_some_of_the_plans(bound: Bound, worst: object) -> None:
    plan = some_plan(bound, 0)
    factors = plan.log_factors(0.6)
    np.testing.assert_array_equal(plan.of(np.array([2, 2, 0])).log_factors(0.6), factors[[2, 2, 0]])
    masked = plan.of(np.array([False, True, True])).log_factors(0.6)
    np.testing.assert_array_equal(masked, factors[1:])


# Stakes


def growth_of(stake: float, shares: Array, values: Array) -> float:
    return float(shares @ np.log1p(stake * values))


@seeded
@given(
    arrays(np.float64, 9, elements=st.floats(0, 1)),
    st.floats(-10, -1e-3),
    arrays(np.float64, 8, elements=st.floats(0, 4)),
)
def test_the_best_stake_beats_a_grid_and_never_ruins(weights: Array, lowest: float, rises: Array) -> None:
    assume(weights.sum() > 0.01)
    shares = weights / weights.sum()
    values = lowest + np.concatenate([[0.0], np.cumsum(rises)])
    stake = best_stakes(shares[None], values[None])[0]
    most = -1 / lowest
    assert 0 <= stake < most
    assert (1 + stake * values > 0).all()
    best = max(growth_of(share * most, shares, values) for share in np.linspace(0, 0.999, 300))
    # The best is within a step; as growth is concave and 0 at 0, the step costs no more than its share.
    step = most / 2**HALVINGS
    if stake + step < most:
        assert shares @ (values / (1 + (stake + step) * values)) <= 1e-9
    assert growth_of(stake, shares, values) >= best * stake / (stake + step) - 1e-12


def test_stakes_in_closed_form() -> None:
    """Win b with probability p, else lose a: p/a - (1 - p)/b of the wealth."""
    losses, wins, p = np.array([1.0, 0.5, 2.0]), np.array([1.0, 3.0, 0.5]), np.array([0.6, 0.4, 0.95])
    shares, values = np.stack([1 - p, p], axis=1), np.stack([-losses, wins], axis=1)
    expected = p / losses - (1 - p) / wins
    assert (expected > 0).all()
    found = best_stakes(shares, values)
    assert (abs(found - expected) <= 1 / losses / 2**HALVINGS).all()


def test_no_stake_where_even_a_small_one_would_lose() -> None:
    shares = np.array([[0.5, 0.5], [0.6, 0.4], [1.0, 0.0]])
    values = np.array([[-1.0, 1.0], [-1.0, 1.0], [-1.0, 5.0]])
    np.testing.assert_array_equal(best_stakes(shares, values), 0)


def test_a_payoff_that_cannot_lose_is_staked_on_as_if_without_limit() -> None:
    shares, values = np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]])
    stake = best_stakes(shares, values)[0]
    assert stake > 1e9
    assert np.isfinite(growth_of(stake, shares[0], values[0]))


@bounds
@pytest.mark.parametrize("lower", [0.0, 3e-9, 1e-8])
@pytest.mark.parametrize("spot", [0.0, 0.5, 1.0])
def test_margins_that_are_never_negative_overflow_nothing(
    bound: Bound, worst: object, lower: float, spot: float
) -> None:
    like = law(lower, 0.1, [(spot, 50)])
    now = planned(bound, like)
    growths = [growth(now.payoffs, now.stakes, like.masses, rho)[0] for rho in (SMALLEST, 1.0, LARGEST)]
    assert not np.isnan(growths).any()
    assert growths == sorted(growths, reverse=True)


# Plans


def planned(
    bound: Bound,
    like: Law,
    *,
    unseen: Array | None = None,
    most: float = LARGEST,
    horizon: int = 2000,
    threshold: float = THRESHOLD,
) -> Plan:
    return plan(
        bound, like.masses, *like.range, unseen=unseen, most=most, horizon=horizon, threshold=threshold
    )


@bounds
@seeded
@given(laws, st.floats(1e-6, LARGEST), st.integers(2, 10**6), st.floats(0.5, 20))
def test_plans_aim_no_further_than_asked_and_never_stake_all(
    bound: Bound,
    worst: object,
    like: Law,
    most: float,
    horizon: int,
    threshold: float,
) -> None:
    now = None
    for _ in range(3):
        unseen = None if now is None else now.unseen
        now = planned(bound, like, unseen=unseen, most=most, horizon=horizon, threshold=threshold)
        assert SMALLEST <= now.rho[0] <= max(most, SMALLEST)
        assert 0 < now.unseen[0] <= 1.5
        values = now.payoffs.gains + now.payoffs.constant(now.rho)[:, None]
        assert now.stakes[0] >= 0
        assert (1 + now.stakes[:, None] * values > 0).all()


@bounds
def test_equal_samples_have_equal_plans_and_are_left_alone(bound: Bound, worst: object) -> None:
    like = law(-1.0, 1.0, [(0.2, 10), (0.77, 60), (0.9, 30)])
    masses, unseen = like.masses, np.array([0.8])
    one, other = (
        plan(bound, masses, *like.range, unseen=unseen, most=2.0, horizon=500, threshold=THRESHOLD)
        for _ in range(2)
    )
    for mine, yours in ((one.rho, other.rho), (one.stakes, other.stakes), (one.unseen, other.unseen)):
        np.testing.assert_array_equal(mine, yours)
    np.testing.assert_array_equal(one.payoffs.gains, other.payoffs.gains)
    np.testing.assert_array_equal(masses, like.masses)
    assert unseen[0] == 0.8


@bounds
def test_each_margin_is_planned_for_by_itself(bound: Bound, worst: object) -> None:
    laws = [
        law(-1.0, 1.0, [(0.1, 2), (0.9, 98)]),
        law(-0.2, 0.6, [(0.0, 5), (0.5, 50), (0.9, 45)]),
        law(-0.5, 0.7, [(0.3, 50), (0.4, 50)]),  # lost
    ]
    every = plan(
        bound,
        np.concatenate([like.masses for like in laws]),
        np.array([like.lower for like in laws]),
        np.array([like.upper for like in laws]),
        unseen=None,
        most=3.0,
        horizon=1000,
        threshold=THRESHOLD,
    )
    for k, like in enumerate(laws):
        alone, member = planned(bound, like, most=3.0, horizon=1000), every.of(np.array([k]))
        np.testing.assert_allclose(member.rho, alone.rho, rtol=1e-9)
        np.testing.assert_allclose(member.stakes, alone.stakes, rtol=1e-9)
        np.testing.assert_allclose(member.unseen, alone.unseen, rtol=1e-9)
        np.testing.assert_allclose(member.payoffs.gains, alone.payoffs.gains, rtol=1e-9)
    assert every.of(np.array([True, False, True])).rho.tolist() == every.rho[[0, 2]].tolist()
    assert every.stakes[2] == 0 < every.stakes[0]


@bounds
@pytest.mark.parametrize("horizon", [300, 2000, 50_000])
def test_plan_after_plan_wealth_comes_near_the_threshold(bound: Bound, worst: object, horizon: int) -> None:
    """Set aside too little and the bets are lost, too much and they are dull: the share finds its level."""
    like = law(-1.0, 1.0, [(0.1, 3), (0.6, 17), (0.8, 80)])
    now = planned(bound, like, horizon=horizon)
    for _ in range(30):
        now = planned(bound, like, unseen=now.unseen, horizon=horizon)
    feared = UNSEEN / (UNSEEN + horizon)
    masses = horizon * (1 - feared) * like.masses / like.masses.sum()
    masses[:, 0] += horizon * feared
    found = growth(now.payoffs, now.stakes, masses, float(now.rho[0]))[0]
    assert 2 / 3 < found / THRESHOLD < 3 / 2


@bounds
def test_what_is_set_aside_rises_for_a_bet_that_wins_too_little_and_falls_for_one_that_wins_more(
    bound: Bound, worst: object
) -> None:
    hopeless = planned(bound, law(-1.0, 1.0, [(0.4, 50), (0.5, 50)]), unseen=np.array([0.1]))
    assert hopeless.rho[0] == SMALLEST
    assert hopeless.stakes[0] == 0
    assert hopeless.unseen[0] == pytest.approx(0.3)
    easy = planned(bound, law(-1.0, 1.0, [(0.8, 50), (0.9, 50)]), unseen=np.array([0.1]), most=0.1)
    assert easy.unseen[0] == pytest.approx(0.1 / 3)
    # Out of hand, it is brought back: at most half, at least one sample of the horizon.
    for unseen, kept in ((7.0, 0.5), (1e-9, 1 / 2001)):
        again = planned(bound, law(-1.0, 1.0, [(0.4, 50), (0.5, 50)]), unseen=np.array([unseen]))
        assert again.unseen[0] == pytest.approx(3 * kept)


def test_stakes_fear_what_was_not_seen() -> None:
    """Every sample at the upper end: win v with probability 1 - u or lose a, so (1 - u)/a - u/v."""
    horizon = 400
    now = planned(MEAN, law(-1.0, 1.0, [(1.0, 100)]), horizon=horizon, most=1.0)
    constant = now.payoffs.constant(now.rho)[0]
    win, loss = now.payoffs.gains[0, -1] + constant, -constant
    u = UNSEEN / (UNSEEN + horizon)
    assert now.stakes[0] == pytest.approx((1 - u) / loss - u / win, abs=1.01 / loss / 2**HALVINGS)


@bounds
def test_the_first_plan_sets_aside_what_the_threshold_costs(bound: Bound, worst: object) -> None:
    """n samples without a loss tell probabilities up to exp(-threshold / n) apart from 1."""
    like = law(-1.0, 1.0, [(0.05, 30), (0.95, 70)])
    share = np.array([THRESHOLD / 800])
    first, given_it = planned(bound, like, horizon=800), planned(bound, like, horizon=800, unseen=share)
    assert first.rho[0] == given_it.rho[0]
    assert first.unseen[0] == given_it.unseen[0]
