"""What bets have won: the radius is where the last one passes, and it is found whoever that is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify.betting import Plan, plan
from certify.cdf import CDF
from certify.histogram import BINS
from certify.mean import MEAN
from certify.payoffs import LARGEST, Bound
from certify.playbook import ENOUGH, RADII, Playbook
from certify.wealth import PRECISION, Bets, won
from tests.certify.worlds import briefly

Array = NDArray[np.float64]
both = pytest.mark.parametrize("bound", [CDF, MEAN], ids=["cdf", "mean"])
seeds = st.integers(0, 2**32)


def plans(bound: Bound, rng: np.random.Generator, count: int) -> Plan:
    knots = np.linspace(-1, 1, BINS + 1)
    centres, spreads = rng.uniform(0.1, 0.8, (count, 1)), rng.uniform(0.05, 0.4, (count, 1))
    masses = 256 * np.exp(-(((knots - centres) / spreads) ** 2) / 2)
    ones = np.ones(count)
    return plan(bound, masses, -ones, ones, unseen=None, most=LARGEST, horizon=1000, threshold=7.0)


def some(bound: Bound, seed: int, count: int, blocks: int = 3) -> Bets:
    rng = np.random.default_rng(seed)
    books = [plans(bound, rng, 5) for _ in range(blocks)]
    knots = np.linspace(-1, 1, BINS + 1)
    centres = rng.uniform(0.1, 0.9, (count, 1))
    masses = [np.round(300 * np.exp(-(((knots - centres) / 0.3) ** 2) / 2)) for _ in range(blocks)]
    return Bets(
        books, [rng.integers(0, 5, count) for _ in books], masses, rng.uniform(3, 9, count),
        rng.integers(1, 4, count),
    )  # fmt: skip


def by_hand(bets: Bets, k: int, rho: float) -> float:
    """The largest log wealth of a margin after some block, less what it needs."""
    wealth, best = 0.0, -np.inf
    for plan_, picks, masses in zip(bets.plans, bets.picks, bets.masses, strict=True):
        wealth += float(plan_.log_factors(rho)[picks[k]] @ masses[k])
        best = max(best, wealth)
    return best - float(bets.needed[k])


@both
@briefly
@given(seed=seeds, count=st.integers(1, 20), rho=st.floats(0.01, 3))
def test_surplus_is_that_of_the_best_block(bound: Bound, seed: int, count: int, rho: float) -> None:
    bets = some(bound, seed, count)
    expected = [by_hand(bets, k, rho) for k in range(count)]
    np.testing.assert_allclose(bets.surplus(rho), expected, rtol=1e-9, atol=1e-9)
    failing = bets.failing(rho)
    assert len(failing) == sum(value < 0 for value in expected)


@both
@briefly
@given(seed=seeds, count=st.integers(1, 20), lost=st.integers(0, 5))
def test_the_largest_is_where_the_last_one_passes_or_all_but_a_few(
    bound: Bound, seed: int, count: int, lost: int
) -> None:
    bets = some(bound, seed, count)
    found = bets.largest(LARGEST, lost)

    def failed(rho: float) -> int:
        return int(bets.counts[bets.surplus(rho) < 0].sum())

    if found > 0:
        assert failed(found) <= lost
    if found < LARGEST:
        assert failed(max(found, 1e-4) + 3 * PRECISION) > lost
    assert bets.largest(min(found + 0.1, LARGEST), lost) == pytest.approx(found, abs=3 * PRECISION)
    assert found == 0 or bets.largest(found / 2, lost) == found / 2
    assert bets.largest(LARGEST, lost + 1) >= found - 3 * PRECISION


@both
def test_bets_beside_others_are_all_of_them(bound: Bound) -> None:
    bets = some(bound, 1, 12)
    one, other = bets.of(np.arange(4)), bets.of(np.arange(4, 12))
    np.testing.assert_array_equal(one.beside(other).surplus(0.5), bets.surplus(0.5))
    assert len(one.beside(other)) == 12


@both
def test_few_are_counted_as_many_are(bound: Bound) -> None:
    """By tables of all plans, or of those that are picked."""
    bets = some(bound, 2, 30)
    every = won(bets.plans[0], bets.picks[0], bets.masses[0], 0.7)
    few = won(bets.plans[0], bets.picks[0][:3], bets.masses[0][:3], 0.7)
    np.testing.assert_allclose(few, every[:3], rtol=1e-12)


# --- picking


@both
@briefly
@given(seed=seeds, aim=st.floats(0.1, 2))
def test_the_pick_wins_most_at_the_largest_radius_at_which_any_wins_enough(
    bound: Bound, seed: int, aim: float
) -> None:
    rng = np.random.default_rng(seed)
    book = Playbook(plans(bound, rng, 7), aim, 1000, 7.0)
    seen = rng.exponential(size=(30, BINS + 1)) * (np.arange(BINS + 1) > rng.integers(0, BINS, (30, 1)))
    seen[:, -1] += 1
    picks = book.picks(seen)
    for masses, pick in zip(seen, picks, strict=True):
        shares = masses / masses.sum() * (1 - 0.2 / 1000.2)
        shares[0] += 0.2 / 1000.2
        growth = np.stack([book.plan.log_factors(radius * aim) @ shares for radius in RADII])
        enough = np.flatnonzero(growth.max(axis=1) >= ENOUGH * 7 / 1000 + 1e-12)
        row = enough[0] if len(enough) else len(RADII) - 1
        assert growth[row, pick] >= growth[row].max() - 1e-9


def test_a_pick_does_not_depend_on_who_else_picks() -> None:
    rng = np.random.default_rng(0)
    book = Playbook(plans(CDF, rng, 40), 0.8, 1000, 7.0)
    seen = rng.exponential(size=(500, BINS + 1))
    every = book.picks(seen)
    for n in (1, 2, 7, 333):
        rows = rng.permutation(500)[:n]
        np.testing.assert_array_equal(book.picks(seen[rows]), every[rows])
