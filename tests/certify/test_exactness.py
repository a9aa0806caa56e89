"""What float64 computes of a payoff and of wealth is never above what exact arithmetic gives.

Exact: mpmath, with 50 digits. So wealth that tests ρ, as computed, is at most the exact wealth that tests any
smaller ρ, and that falls when ρ grows: no float has to.
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import exp, log, mpf, ncdf, workdps
from numpy.typing import NDArray

from certify import LARGEST_HORIZON, EmbeddingSpace, Rivals, Terms, certify, certify_votes
from certify.betting import LEFT
from certify.cdf import CDF, CdfPayoffs
from certify.histogram import BINS
from certify.mean import MEAN, MeanPayoffs
from certify.payoffs import Bound, Payoffs
from tests.certify.laws import growth
from tests.certify.worlds import briefly

Array = NDArray[np.float64]
DIGITS = 50
# How far a margin may be off in float64, times 1 plus its range: twice what 4,096 dimensions can cost.
MARGIN = 2e-12

bounds = st.sampled_from([CDF, MEAN])
# From bets for a few samples to bets for more than there may be.
unseens = st.sampled_from([0.3, 1e-3, 1e-5, 1e-7, 3e-8])
rhos = st.floats(1e-4, 8)


def some(bound: Bound, seed: int, unseen: float, aim: float) -> Payoffs:
    """The payoff for one margin, random in range and distribution; most of it far from the lower end."""
    rng = np.random.default_rng(seed)
    lower, upper = -(10 ** rng.uniform(-4, 0.3, 1)), 10 ** rng.uniform(-4, 0.3, 1)
    masses = rng.exponential(size=(1, BINS + 1)) * (np.arange(BINS + 1) >= rng.integers(0, BINS))
    return bound.choose(masses, lower, upper, np.array([unseen]), np.array([aim]))


def exact_level(payoffs: Payoffs, rho: float) -> mpf:
    """constant(ρ), from its definition."""
    lower, width = mpf(payoffs.lower[0]), mpf(payoffs.upper[0]) - mpf(payoffs.lower[0])
    if isinstance(payoffs, CdfPayoffs):
        total = mpf(0)
        for value in payoffs.log_slopes[0]:
            middle = mpf(value) / mpf(rho)
            half = mpf(rho) / 2
            total += ncdf(middle - half) - exp(mpf(value)) * ncdf(middle + half)
        return lower + width / BINS * total
    assert isinstance(payoffs, MeanPayoffs)
    share, low, high = -lower / width, mpf(-40), mpf(40)
    for _ in range(180):  # the quantile, by halving
        middle = (low + high) / 2
        low, high = (middle, high) if ncdf(middle) < share else (low, middle)
    return -width * ncdf(low + mpf(rho))


def exact_gains(payoffs: Payoffs) -> list[mpf]:
    """Gains at the knots, from their definition."""
    step = (mpf(payoffs.upper[0]) - mpf(payoffs.lower[0])) / BINS
    if isinstance(payoffs, MeanPayoffs):
        return [step * knot for knot in range(BINS + 1)]
    assert isinstance(payoffs, CdfPayoffs)
    gains = [mpf(0)]
    for value in payoffs.log_slopes[0]:
        gains.append(gains[-1] + step * exp(mpf(value)))
    return gains


@briefly
@given(bounds, st.integers(0, 2**32), unseens, st.floats(0.01, 6), rhos)
def test_a_payoff_is_not_above_the_exact_one_though_the_margin_be_off(
    bound: Bound, seed: int, unseen: float, aim: float, rho: float
) -> None:
    payoffs = some(bound, seed, unseen, aim)
    computed = payoffs.gains[0] + payoffs.constant(rho)[0]
    steepest = np.diff(payoffs.gains[0]).max() * BINS / (payoffs.upper - payoffs.lower)[0]
    off = MARGIN * (1 + payoffs.upper[0] - payoffs.lower[0]) * steepest
    with workdps(DIGITS):
        level = exact_level(payoffs, rho)
        for gain, found in zip(exact_gains(payoffs), computed, strict=True):
            assert mpf(found) + mpf(off) < gain + level
            # What is taken off is what was meant to be, not an accident of a loose bound.
            assert gain + level - mpf(found) < 1.5 * payoffs.rounding[0]


def test_that_is_tried_on_slopes_as_steep_as_they_get() -> None:
    """Bets for ten million samples have slopes of up to e^(Φ⁻¹(1 - 10⁻⁷)²/2), about 7 · 10⁵."""
    steep = max(
        float(np.diff(some(CDF, seed, 1e-7, 5.2).gains[0]).max())
        / float((some(CDF, seed, 1e-7, 5.2).upper - some(CDF, seed, 1e-7, 5.2).lower)[0])
        * BINS
        for seed in range(20)
    )
    assert 5e5 < steep < 8e5


def exact_growth(payoffs: Payoffs, stake: float, masses: list[Fraction], rho: float) -> mpf:
    """Log of the wealth that tests `rho`, with the stake cut where it has to be."""
    level = exact_level(payoffs, rho)
    left = mpf(LEFT)
    share = mpf(stake) if level >= 0 else min(mpf(stake), (1 - left) / -level)
    total = mpf(0)
    for mass, gain in zip(masses, exact_gains(payoffs), strict=True):
        if mass:
            total += mpf(mass.numerator) / mass.denominator * log(1 + share * (gain + level))
    return total


@briefly
@given(
    bounds,
    st.integers(0, 2**32),
    unseens,
    st.floats(0.01, 6),
    rhos,
    st.sampled_from([1.0, 1 + 1e-15, 1 + 1e-12, 1.001]),
    # Tiny stakes win less than 1 + λψ rounds; large ones have to be cut.
    st.one_of(st.floats(1e-16, 1e-9), st.floats(1e-3, 1e3)),
)
def test_wealth_is_not_above_the_exact_wealth_of_any_smaller_rho(
    bound: Bound, seed: int, unseen: float, aim: float, rho: float, beyond: float, stake: float
) -> None:
    payoffs = some(bound, seed, unseen, aim)
    rng = np.random.default_rng(seed)
    masses = rng.integers(0, LARGEST_HORIZON // BINS, BINS + 1) * (rng.random(BINS + 1) < 0.5) / 1.0
    masses[rng.integers(0, BINS)] += 1
    # All margins come out too large, by as much as they may: some of each mass is found one knot higher.
    width = payoffs.upper[0] - payoffs.lower[0]
    found = masses * (1 - MARGIN * (1 + width) / width * BINS)
    found[1:] += masses[:-1] - found[:-1]
    computed = growth(payoffs, np.array([stake]), found[None], rho * beyond)[0]
    with workdps(DIGITS):
        expected = exact_growth(payoffs, stake, [Fraction(float(mass)) for mass in masses], rho)
        assert not np.isnan(computed)
        assert computed == -np.inf or mpf(float(computed)) <= expected


@pytest.mark.parametrize("bound", [CDF, MEAN], ids=["cdf", "mean"])
@pytest.mark.parametrize("exponent", [-15, -14, -13, -12, -11, -10])
def test_wealth_of_stakes_so_small_that_factors_round_is_not_overstated(bound: Bound, exponent: int) -> None:
    """Many tries each: a factor is as likely to be rounded up as down."""
    rng = np.random.default_rng(abs(exponent))
    for seed in range(20):
        payoffs, stake = some(bound, seed, 1e-3, 1.0), float(rng.uniform(1, 9) * 10.0**exponent)
        masses = np.zeros((1, BINS + 1))
        masses[0, int(rng.integers(BINS // 2, BINS + 1))] = 10_000
        computed = growth(payoffs, np.array([stake]), masses, 0.8)[0]
        with workdps(DIGITS):
            exact = [Fraction(float(mass)) for mass in masses[0]]
            assert mpf(float(computed)) <= exact_growth(payoffs, stake, exact, 0.8)


@pytest.mark.parametrize("width", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("bound", [CDF, MEAN], ids=["cdf", "mean"])
def test_at_the_lower_end_all_that_is_staked_is_lost_though_the_margin_be_off(
    bound: Bound, width: float
) -> None:
    """There a lower constant cuts the stake, and what is left stays the same."""
    masses = np.ones((1, BINS + 1)) * (np.arange(BINS + 1) > 20)
    ends = np.array([-width / 3]), np.array([2 * width / 3])
    payoffs = bound.choose(masses, *ends, np.array([1e-3]), np.array([1.0]))
    shift = MARGIN * (1 + width) / width * BINS
    found = np.zeros((1, BINS + 1))
    found[0, :2] = 1000 * (1 - shift), 1000 * shift
    computed = growth(payoffs, np.array([1e9]), found, 1.5)[0]
    with workdps(DIGITS):
        true = [Fraction(1000)] + [Fraction(0)] * BINS
        assert computed == -np.inf or mpf(float(computed)) <= exact_growth(payoffs, 1e9, true, 1.5)


class Frictionless(MeanPayoffs):
    """Payoffs of which nothing is taken off, which would hide what sums round."""

    @property
    def rounding(self) -> Array:
        return np.zeros(len(self.lower))


def test_masses_that_were_added_up_ten_million_times_overstate_nothing() -> None:
    """The masses of pieces, one after another: the sum drifts, by as much as it can where all are alike."""
    payoffs = Frictionless(np.full(1, -0.4), np.full(1, 0.6), np.linspace(0, 1, BINS + 1)[None])
    drifts = 0
    for part in np.random.default_rng(0).uniform(1, 128, 12):
        total = np.cumsum(np.full(LARGEST_HORIZON // 256, part))[-1]
        true = Fraction(float(part)) * (LARGEST_HORIZON // 256)
        masses = np.zeros((1, BINS + 1))
        masses[0, BINS] = total
        each = float(log(1 + mpf(0.1) * mpf(payoffs.gains[0, BINS] + payoffs.constant(0.5)[0])))
        drifts += Fraction(float(total)) > true * (1 + Fraction(1, 10**14))
        computed = growth(payoffs, np.array([0.1]), masses, 0.5)[0]
        assert Fraction(float(computed)) <= true * Fraction(each)
    assert drifts >= 2  # else nothing was tried


def test_what_is_taken_off_costs_nothing_that_counts() -> None:
    """A millionth of the wealth's growth, at bets as they are."""
    payoffs = some(CDF, 5, 1e-3, 1.0)
    rng = np.random.default_rng(0)
    masses = rng.integers(0, 500, BINS + 1).astype(np.float64)
    computed = growth(payoffs, np.array([0.1]), masses[None], 0.5)[0]
    with workdps(DIGITS):
        exact = exact_growth(payoffs, 0.1, [Fraction(float(mass)) for mass in masses], 0.5)
    assert 0 <= exact - computed < 1e-5 * abs(exact) + 1e-5


# --- beyond what is proven


@pytest.mark.parametrize("horizon", [LARGEST_HORIZON + 1, 10**9, 2**63])
def test_a_horizon_beyond_what_is_proven_is_refused(horizon: int) -> None:
    with pytest.raises(ValueError, match=f"at most {LARGEST_HORIZON} samples, got {horizon}"):
        Terms(0.25, 0.05, horizon=horizon)
    assert Terms(0.25, 0.05, horizon=LARGEST_HORIZON).horizon == LARGEST_HORIZON


@pytest.mark.parametrize("method", ["cdf", "mean", "bisector", "paper"])
def test_a_reading_beyond_it_is_void(method: str) -> None:
    samples = np.broadcast_to(np.array([0.6, 0.8], np.float32), (LARGEST_HORIZON + 1, 2))
    rivals = Rivals.of(np.array([[0.6, 0.8]]), np.array([[-0.6, -0.8]]), np.array([0.6, 0.8]))
    terms = Terms(0.25, 0.05, method=method)  # type: ignore[arg-type]
    found = certify(samples, {"label": rivals}, EmbeddingSpace(), terms)
    assert (found.label_radius, found.item_radius) == (0, 0)
    assert str(LARGEST_HORIZON) in str(found.reason)


def test_so_many_votes_are_void() -> None:
    votes = np.broadcast_to(np.int64(1), LARGEST_HORIZON + 1)
    found = certify_votes({"label": votes}, {"label": 1}, Terms(0.25, 0.05))
    assert (found.label_radius, found.item_radius) == (0, 0)
    assert str(LARGEST_HORIZON) in str(found.reason)
