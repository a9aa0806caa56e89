"""From margins to a radius: what was bet is what is counted, and no rival is lost in a group."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from certify.betting import Plan, plan
from certify.blocks import blocks, planned_for
from certify.book import Book, Units
from certify.cdf import CDF, CdfPayoffs
from certify.histogram import BINS, linear_binning
from certify.margins import Margins
from certify.mean import MEAN
from certify.payoffs import LARGEST, Bound
from certify.sequential import GROUP, NEAREST, TINY, Reached, SequentialTest
from tests.certify.worlds import briefly, seeded

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
SELECTED = 128
ALPHA = 0.05
# Two searches for the same ρ may end so far apart.
NOISE = 3e-6
both = pytest.mark.parametrize("bound", [CDF, MEAN], ids=["cdf", "mean"])
seeds = st.integers(0, 2**32)


def margins_of(values: Array, lower: Array | float = -1.0, upper: Array | float = 1.0) -> Margins:
    """Margins that take the rows of `values` (K, n) where the samples are their columns."""
    count = len(values)
    ends = [np.broadcast_to(np.asarray(end, dtype=np.float64), count).copy() for end in (lower, upper)]
    return Margins(np.eye(count), np.zeros(count), None, ends[0], ends[1])


def reached(
    values: Array,
    bound: Bound = CDF,
    *,
    lower: Array | float = -1.0,
    upper: Array | float = 1.0,
    selected: int = SELECTED,
    horizon: int | None = None,
    alpha: float = ALPHA,
    target: float | None = None,
) -> Reached:
    contest = SequentialTest(
        margins_of(values, lower, upper), bound, values.T[:selected],
        horizon=horizon or values.shape[1], alpha=alpha, target=target,
    )  # fmt: skip
    return contest.reached(values.T)


def normal(rng: np.random.Generator, n: int, mean: float, deviation: float, count: int = 1) -> Array:
    """Margins (count, n): quantiles of a normal distribution, in random order, in selection and in the rest.

    As like one another as margins can be that are not the same.
    """
    parts = [
        np.stack([rng.permutation(ndtri((np.arange(size) + 0.5) / size)) for _ in range(count)])
        for size in (SELECTED, n - SELECTED)
    ]
    return np.clip(mean + deviation * np.concatenate(parts, axis=1), -1.0, 1.0)


def several(seed: int, n: int, count: int) -> tuple[Array, Array]:
    """Margins (count, n), from dangerous to clear, and their lower ends."""
    rng = np.random.default_rng(seed)
    centres, spreads = rng.uniform(0.05, 0.5, (count, 1)), rng.uniform(0.05, 0.4, (count, 1))
    return np.clip(rng.normal(centres, spreads, (count, n)), -0.7, 1.0), rng.uniform(-1.0, -0.7, count)


# --- blocks


@seeded
@given(selected=st.integers(1, 300), n=st.integers(2, 5000))
def test_each_block_is_as_long_as_all_before_it_but_for_the_last(selected: int, n: int) -> None:
    found = blocks(selected, n)
    assert [first for first, _ in found] == [last for _, last in [(0, selected), *found]][: len(found)]
    assert all(last == 2 * first for first, last in found[:-1])
    assert all(first < last <= 2 * first for first, last in found)
    assert (found[-1][1] if found else selected) == max(n, selected)


@seeded
@given(selected=st.integers(1, 300), n=st.integers(2, 5000), more=st.integers(0, 5000))
def test_blocks_of_fewer_samples_are_a_prefix_but_for_the_cut(selected: int, n: int, more: int) -> None:
    short, long = blocks(selected, n), blocks(selected, n + more)
    assert short == [(first, min(last, n)) for first, last in long if first < n]


@seeded
@given(first=st.integers(1, 10**6), selected=st.integers(1, 300), horizon=st.integers(1, 10**6))
def test_plans_are_for_the_samples_after_the_selection(first: int, selected: int, horizon: int) -> None:
    """Up to the horizon; without one to four times as many as there are, or to a thousand."""
    assert planned_for(first, selected, horizon) == max(horizon - selected, 1)
    assert planned_for(first, selected, None) == max(1000, 4 * first) - selected > 0


# --- what is counted is what was bet


def payoff(bound: Bound, bets: Plan, rho: float, values: Array, lower: float, upper: float) -> Array:
    """ψ_ρ at `values`, from its definition: intercepts are minima over p, integrals are sums."""
    width = upper - lower
    if bound is MEAN:
        return np.asarray(values - lower - width * ndtr(ndtri(-lower / width) + rho))
    assert isinstance(bets.payoffs, CdfPayoffs)
    slopes = np.exp(bets.payoffs.log_slopes[0])
    quantiles = np.linspace(-10, 10, 10_001)[:, None]
    intercepts = (ndtr(quantiles - rho) - slopes * ndtr(quantiles)).min(axis=0)
    # Which share of each of the intervals lies below the value.
    below = np.clip((values[:, None] - lower) * BINS / width - np.arange(BINS), 0.0, 1.0)
    return np.asarray(lower + width / BINS * (intercepts.sum() + below @ slopes))


def best_wealth(
    bound: Bound, values: Array, lower: float, upper: float, alpha: float
) -> Callable[..., float]:
    """Sample by sample: ln of the largest wealth after some block, as a function of ρ, on one margin (n,)."""
    n, ends = len(values), (np.array([lower]), np.array([upper]))
    terms = {"most": LARGEST, "horizon": n - SELECTED, "threshold": float(np.log(1 / alpha))}
    seen = linear_binning(values[None, :SELECTED], *ends)
    first_guess = plan(bound, seen, *ends, unseen=None, **terms)
    bets = [plan(bound, seen, *ends, unseen=first_guess.unseen, **terms)]
    for first, last in blocks(SELECTED, n):
        seen = seen + linear_binning(values[None, first:last], *ends)
        bets.append(plan(bound, seen, *ends, unseen=bets[-1].unseen, **terms))

    def largest(rho: float) -> float:
        wealth = [0.0]
        for (first, last), bet in zip(blocks(SELECTED, n), bets, strict=False):
            worst = float(payoff(bound, bet, rho, np.array([lower]), lower, upper)[0])
            stake = min(bet.stakes[0], -1 / worst)
            won = 1 + stake * payoff(bound, bet, rho, values[first:last], lower, upper)
            wealth.append(wealth[-1] + float(np.log(np.maximum(won, 1e-300)).sum()))
        return max(wealth)

    return largest


@both
@pytest.mark.parametrize("knot", [17, 20, 25, 32])
@pytest.mark.parametrize(("n", "alpha"), [(256, 0.05), (700, 1e-6), (2048, 0.9)])
def test_equal_margins_win_the_same_share_again_and_again(
    bound: Bound, knot: int, n: int, alpha: float
) -> None:
    """At a knot: there, nothing is lost to binning."""
    lower, upper = -0.75, 1.25
    values = np.full(n, lower + knot / BINS * (upper - lower))
    wealth = best_wealth(bound, values, lower, upper, alpha)
    rho = reached(values[None], bound, lower=lower, upper=upper, alpha=alpha).rho
    assert wealth(rho + 1e-4) < np.log(1 / alpha)
    assert rho == 0 or wealth(rho - 1e-4) > np.log(1 / alpha)


@both
@briefly
@given(seed=seeds, n=st.sampled_from([300, 512, 1500]))
def test_the_radius_is_where_wealth_passes_one_over_alpha(bound: Bound, seed: int, n: int) -> None:
    """After some block, not only after the last: a run of bad luck takes nothing back."""
    rng = np.random.default_rng(seed)
    at_knots = -1 + rng.binomial(BINS, rng.uniform(0.6, 0.95), n) * 2 / BINS
    wealth = best_wealth(bound, at_knots, -1.0, 1.0, ALPHA)
    rho = reached(at_knots[None], bound).rho
    assert wealth(rho + 1e-4) < np.log(1 / ALPHA)
    assert rho == 0 or wealth(rho - 1e-4) > np.log(1 / ALPHA)


@both
@briefly
@given(seed=seeds)
def test_binning_never_overstates_and_costs_little(bound: Bound, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(0.4, rng.uniform(0.05, 0.4), 1000), -1, 1)
    wealth = best_wealth(bound, values, -1.0, 1.0, ALPHA)
    rho = reached(values[None], bound).rho
    assert rho > 0
    assert wealth(rho - 1e-4) > np.log(1 / ALPHA)
    assert wealth(1.02 * rho) < np.log(1 / ALPHA)


def limit(bound: Bound, value: float, lower: float, upper: float, count: int, alpha: float) -> float:
    """More than this no test of level `alpha` can claim after `count` margins that all equal `value`.

    Let the margin be `value` with probability p, else `lower`, for the p at which the bound is 0 at ρ. All
    are `value` with probability p^count, and then ρ may be claimed only if that is at most alpha.
    """
    zero = ndtri(-lower / (value - lower))
    if bound is CDF:
        return float(ndtri(alpha ** (1 / count)) - zero)
    share = (value - lower) / (upper - lower)
    return float(ndtri(alpha ** (1 / count) * share) - ndtri(-lower / (upper - lower)))


@both
@seeded
@given(
    n=st.integers(256, 3000),
    alpha=st.floats(1e-9, 0.9),
    lower=st.floats(-2.0, -0.01),
    value=st.floats(0.01, 1.0),
    room=st.floats(0.0, 1.0),
)
def test_no_radius_is_above_what_any_test_could_claim(
    bound: Bound, n: int, alpha: float, lower: float, value: float, room: float
) -> None:
    upper = value + room
    rho = reached(np.full((1, n), value), bound, lower=lower, upper=upper, alpha=alpha).rho
    assert rho <= max(limit(bound, value, lower, upper, n - SELECTED, alpha), 0.0)


@both
@pytest.mark.parametrize("n", [512, 1000, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_equal_margins_get_nearly_what_any_test_could_claim(bound: Bound, n: int, alpha: float) -> None:
    rho = reached(np.ones((1, n)), bound, alpha=alpha).rho
    assert rho > 0.95 * limit(bound, 1.0, -1.0, 1.0, n - SELECTED, alpha)


@both
@briefly
@given(seed=seeds, n=st.integers(600, 1000), loss=st.floats(0.001, 0.3))
def test_smaller_margins_in_the_last_block_never_enlarge(
    bound: Bound, seed: int, n: int, loss: float
) -> None:
    """The bets on them are made before: only what they win changes."""
    values, lower = several(seed, n, 40)
    worse = values.copy()
    worse[:, 512:] = np.maximum(worse[:, 512:] - loss, lower[:, None])
    assert reached(worse, bound, lower=lower).rho <= reached(values, bound, lower=lower).rho + NOISE


@both
@pytest.mark.parametrize("count", [3, 60])
def test_bets_on_a_block_are_chosen_before_it(
    bound: Bound, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other samples from the 1024th on: the same plans for each group of rivals while only 1024 are seen."""
    chosen: dict[tuple[int, ...], list[tuple[int, Array]]] = {}

    def recorded(book: Book, units: Units, some: Rows, seen: Array, *rest: Any) -> Plan:
        made = original(book, units, some, seen, *rest)
        for unit, row, rho, stake in zip(units.rows[some], seen, made.rho, made.stakes, strict=True):
            if round(row.sum()) <= 1024:
                plans = chosen.setdefault(tuple(unit.tolist()), [])
                plans.append((round(row.sum()), np.array([rho, stake])))
        return made

    original = Book._plan
    monkeypatch.setattr(Book, "_plan", recorded)
    values, lower = several(5, 1500, count)
    reached(values, bound, lower=lower, horizon=4000)
    one, chosen = chosen, {}
    values[:, 1024:] = -values[:, 1024:]
    reached(values, bound, lower=lower, horizon=4000)
    # Those that had passed before the end of a run need no further plan.
    compared = 0
    for unit in one.keys() & chosen.keys():
        for (seen, expected), (again, found) in zip(one[unit], chosen[unit], strict=False):
            assert seen == again
            np.testing.assert_allclose(found, expected, rtol=1e-9)
            compared += seen > SELECTED
    assert compared >= min(count, NEAREST)


# --- rivals


@both
@briefly
@given(seed=seeds, count=st.integers(2, NEAREST))
def test_the_radius_of_a_few_rivals_is_the_smallest_of_theirs(bound: Bound, seed: int, count: int) -> None:
    values, lower = several(seed, 900, count)
    alone = [reached(values[[k]], bound, lower=lower[[k]]).rho for k in range(count)]
    assert reached(values, bound, lower=lower).rho == pytest.approx(min(alone), abs=NOISE)


@both
@briefly
@given(seed=seeds, count=st.integers(1, 100))
def test_clearer_rivals_never_enlarge(bound: Bound, seed: int, count: int) -> None:
    """However many there are; nor does any one rival get more than by its own bets, if it looks nearest."""
    values, lower = several(seed, 900, count)
    order = np.argsort(values[:, :SELECTED].mean(axis=1) / (values[:, :SELECTED].std(axis=1) + 1e-6))
    together = reached(values, bound, lower=lower).rho
    for kept in range(1, min(count, NEAREST) + 1):
        rows = order[:kept]
        assert together <= reached(values[rows], bound, lower=lower[rows]).rho + NOISE
        assert together <= reached(values[rows[-1:]], bound, lower=lower[rows[-1:]]).rho + NOISE


@both
@briefly
@given(seed=seeds, count=st.integers(2, 60))
def test_the_order_of_rivals_does_not_matter(bound: Bound, seed: int, count: int) -> None:
    values, lower = several(seed, 900, count)
    shuffled = np.random.default_rng(seed).permutation(count)
    found = reached(values[shuffled], bound, lower=lower[shuffled]).rho
    assert found == pytest.approx(reached(values, bound, lower=lower).rho, abs=NOISE)


@both
@pytest.mark.parametrize("copies", [2, NEAREST, NEAREST + 1, NEAREST + GROUP, 100])
def test_copies_of_a_rival_change_nothing(bound: Bound, copies: int) -> None:
    """Beyond the nearest they get bets of their own, which may be a little worse but never count for more."""
    values = normal(np.random.default_rng(1), 1000, 0.3, 0.2)
    alone = reached(values, bound).rho
    together = reached(np.tile(values, (copies, 1)), bound).rho
    slack = 0.0 if copies <= NEAREST else 0.08
    assert (1 - slack) * alone - NOISE <= together <= alone + NOISE


@both
@pytest.mark.parametrize("clear", [1, 4, 5, 6, 20, 21, 22, 40, 200])
@pytest.mark.parametrize("seed", range(3))
def test_clear_rivals_leave_the_radius_as_it_is(bound: Bound, clear: int, seed: int) -> None:
    """Any number of them: the last group is filled up, the first may hold only some."""
    rng = np.random.default_rng(seed)
    binding = normal(rng, 1000, 0.25, 0.2, 3)
    far = normal(rng, 1000, 0.6, 0.05, clear)
    together = reached(np.concatenate([far, binding]), bound).rho
    assert together == pytest.approx(reached(binding, bound).rho, abs=NOISE)
    assert together > 0.2


@pytest.mark.parametrize("clear", [40, 200])
@pytest.mark.parametrize("seed", range(4))
def test_a_dangerous_rival_among_clear_ones_gets_the_radius_that_it_gets_alone(clear: int, seed: int) -> None:
    """It looks less dangerous than the eight that look most so, but can fall far: it is bet on in a group."""
    rng = np.random.default_rng(seed)
    decoys = normal(rng, 4000, 0.25, 0.25, NEAREST)
    dangerous = normal(rng, 4000, 0.25, 0.24)
    values = np.concatenate([decoys, normal(rng, 4000, 0.6, 0.05, clear), dangerous])
    lower = np.concatenate([np.full(len(values) - 1, -1.0), [-4.0]])
    shuffled = rng.permutation(len(values))
    together = reached(values[shuffled], lower=lower[shuffled]).rho
    alone = reached(dangerous, lower=-4.0).rho
    assert together == pytest.approx(alone, rel=0.01)
    assert reached(decoys).rho > 1.05 * alone


@both
@pytest.mark.parametrize("clear", [1, 40, 200])
@pytest.mark.parametrize("mean", [-0.3, -0.02, 0.0])
@pytest.mark.parametrize("seeming", [0.6, 0.9])
def test_a_rival_that_looks_clear_and_wins_leaves_nothing(
    bound: Bound, clear: int, mean: float, seeming: float
) -> None:
    """Be it as clear as others, or the clearest, and so the last one of the last group."""
    rng = np.random.default_rng(clear)
    values = np.concatenate([normal(rng, 3000, 0.25, 0.2, NEAREST), normal(rng, 3000, 0.6, 0.05, clear)])
    assert reached(values, bound).rho > 0.2
    winning = normal(rng, 3000, mean, 0.05)
    winning[0, :SELECTED] = values[-1, :SELECTED] if seeming == 0.6 else seeming
    assert reached(np.concatenate([winning, values]), bound).rho == 0


@both
@pytest.mark.parametrize("clear", [1, 40])
def test_what_a_rival_cost_is_not_forgotten(bound: Bound, clear: int) -> None:
    """It wins 128 times in a row, then never again: no later run of luck makes up for that."""
    rng = np.random.default_rng(0)
    values = np.concatenate([normal(rng, 1024, 0.25, 0.2, NEAREST), normal(rng, 1024, 0.6, 0.05, clear)])
    assert reached(values, bound).rho > 0.2
    values[-1, SELECTED : 2 * SELECTED] = -0.9
    assert reached(values[[-1]], bound).rho == 0
    assert reached(values, bound).rho == 0


@both
def test_a_rival_that_leaves_its_group_starts_where_the_group_stood(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bets on it go on with later samples: nobody returns to those that were bet on, to bet better."""
    planned: list[tuple[list[int], int]] = []

    def recorded(book: Book, units: Units, some: Rows, seen: Array, *rest: Any) -> Plan:
        rows = units.rows[some].tolist()
        planned.extend((unit, round(row.sum())) for unit, row in zip(rows, seen, strict=True))
        return original(book, units, some, seen, *rest)

    original = Book._plan
    monkeypatch.setattr(Book, "_plan", recorded)
    rng = np.random.default_rng(0)
    values = np.concatenate([normal(rng, 4000, 0.25, 0.2, NEAREST), normal(rng, 4000, 0.6, 0.05, GROUP)])
    values[-1, 2 * SELECTED - 20 :: 2] = -0.9
    reached(values, bound)
    first_alone = [seen for unit, seen in planned if unit == [len(values) - 1]]
    in_group = [seen for unit, seen in planned if len(unit) == GROUP]
    assert in_group[0] == SELECTED < in_group[-1] <= first_alone[0]
    assert first_alone == sorted(first_alone)


def test_a_rival_inherits_what_its_own_group_has_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups, one with larger margins, are split at once: each rival inherits from its own."""
    handed_down: list[tuple[SequentialTest, Rows, int]] = []

    def recorded(contest: SequentialTest, members: Rows, parents: Rows, block: int) -> None:
        original(contest, members, parents, block)
        if len(members):
            handed_down.append((contest, members, block))

    original = SequentialTest._split
    monkeypatch.setattr(SequentialTest, "_split", recorded)
    rng = np.random.default_rng(0)
    values = np.concatenate([normal(rng, 3000, mean, 0.02, GROUP) for mean in (0.5, 0.7)])
    values[0, 200::2] = values[GROUP, 200::2] = -0.4
    reached(np.concatenate([normal(rng, 3000, 0.25, 0.2, NEAREST), values]))
    ((contest, members, block),) = handed_down
    assert sorted(members) == list(range(2 * GROUP))
    assert block > 0
    groups = contest.groups.rows
    np.testing.assert_array_equal(contest.members.rows, groups.reshape(-1, 1))
    for earlier, (first, last) in enumerate(blocks(SELECTED, 3000)[:block]):
        smallest = values[groups - NEAREST, first:last].min(axis=1).mean(axis=1)
        masses = contest.book.pages[earlier].masses[contest.members.at(earlier)[members]]
        inherited = masses @ np.linspace(-1, 1, BINS + 1) / (last - first)
        np.testing.assert_allclose(inherited, smallest[members // GROUP], atol=1e-9)


def most_won(contest: SequentialTest, units: Units, unit: int, rho: float, samples: Array) -> float:
    """The largest log wealth of a unit after some block, from all that the book has on it."""
    wealth = [0.0]
    for block in range(len(contest.book.pages)):
        if units.at(block)[unit] >= 0:
            bets = contest.book.bets(units, np.array([unit]), block, samples)
            wealth.append(wealth[-1] + float(bets.log_growth(rho)[0]))
    return max(wealth)


@both
def test_every_rival_has_won_by_itself_or_in_its_group_when_it_is_let_go(bound: Bound) -> None:
    """At the radius that is certified, counted from the book: what is handed down is what was won."""
    later = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        values = np.concatenate(
            [normal(rng, 2500, 0.25, 0.2, NEAREST)]
            + [normal(rng, 2500, mean, rng.uniform(0.02, 0.3), GROUP) for mean in rng.uniform(0.3, 0.8, 5)]
        )
        unlucky = rng.integers(NEAREST, len(values), 6)
        for rival, first in zip(unlucky, rng.integers(SELECTED, 1500, 6), strict=True):
            values[rival, first : first + rng.integers(1, 100)] = rng.uniform(-0.9, 0.1)
        contest = SequentialTest(margins_of(values), bound, values.T[:SELECTED], horizon=2500, alpha=ALPHA)
        rho = contest.reached(values.T).rho
        if rho == 0:
            continue
        members = contest.members
        alone = np.max([members.at(block) for block in range(len(contest.book.pages))], axis=0) >= 0
        later += int((members.start > 0).sum())
        for member in np.flatnonzero(alone):
            won = most_won(contest, members, member, rho, values.T)
            assert won > contest.threshold - 1e-9
        for group in set(np.flatnonzero(~alone) // GROUP):
            assert (
                rho == 0 or most_won(contest, contest.groups, group, rho, values.T) > contest.threshold - 1e-9
            )
    assert later >= 5 * GROUP


def test_members_of_a_group_that_fail_one_at_a_time_are_told_apart() -> None:
    """At each sample another member fails: each of them is safe, but the smallest of them never is."""
    rng = np.random.default_rng(0)
    nearest = normal(rng, 2000, 0.25, 0.2, NEAREST)
    failing = normal(rng, 2000, 0.6, 0.02, GROUP)
    failing[np.arange(2000) % GROUP, np.arange(2000)] = -0.5
    together = reached(np.concatenate([nearest, failing])).rho
    assert together == pytest.approx(reached(nearest).rho, abs=NOISE)
    assert together > 0.5
    assert reached(failing.min(axis=0)[None]).rho == 0


@both
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_margins_computed_in_parts_are_all_margins(
    bound: Bound, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, lower = several(3, 900, 70)
    whole = reached(values, bound, lower=lower)
    monkeypatch.setattr("certify.book.BLOCK", rows * 128)
    assert reached(values, bound, lower=lower) == whole


# --- ends


@both
def test_margins_that_cannot_fall_below_0_are_in_no_doubt(bound: Bound) -> None:
    values = np.full((2, 300), 0.1)
    assert reached(values, bound, lower=np.array([1e-3, 2 * TINY])) == Reached(np.inf, np.inf)
    assert reached(values[:0], bound) == Reached(np.inf, np.inf)


@both
@pytest.mark.parametrize("upper", [0.0, -0.5, 1e-12])
def test_a_margin_that_is_never_positive_has_radius_0(bound: Bound, upper: float) -> None:
    values = np.stack([np.full(300, 0.5), np.full(300, upper)])
    assert reached(values, bound, upper=np.array([1.0, upper])) == Reached(0.0, 0.0)


@both
@briefly
@given(seed=seeds, count=st.integers(1, 30))
def test_margins_in_no_doubt_do_not_count(bound: Bound, seed: int, count: int) -> None:
    values, lower = several(seed, 600, 20)
    sure = np.full((count, 600), 0.01)
    found = reached(np.concatenate([sure, values]), bound, lower=np.append(np.full(count, 0.005), lower))
    assert found == reached(values, bound, lower=lower)


@both
def test_a_lower_end_just_above_0_is_still_bet_on(bound: Bound) -> None:
    found = reached(np.full((1, 1000), 0.5), bound, lower=TINY / 2).rho
    assert 1 < found <= LARGEST


@both
def test_without_samples_to_bet_on_nothing_is_certified(bound: Bound) -> None:
    found = reached(np.full((20, SELECTED), 0.9), bound, horizon=1000)
    assert found.rho == 0 < found.expected


# --- more samples, and what may be expected of them


@both
@briefly
@given(seed=seeds, count=st.integers(1, 60), target=st.sampled_from([None, 0.3, 0.8]))
def test_what_was_certified_after_a_block_stays_certified(
    bound: Bound, seed: int, count: int, target: float | None
) -> None:
    values, lower = several(seed, 2500, count)
    found = [
        reached(values[:, :n], bound, lower=lower, horizon=2500, target=target).rho
        for n in (256, 512, 1024, 2048, 2500)
    ]
    assert all(later >= earlier - NOISE for earlier, later in pairwise(found))


def test_a_run_of_bad_luck_takes_nothing_back() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([normal(rng, 1024, 0.3, 0.2), np.full((1, 1000), -0.9)], axis=1)
    before, after = (reached(values[:, :n], horizon=2024).rho for n in (1024, 2024))
    assert after == pytest.approx(before, abs=NOISE)
    assert after > 0.5


@both
@pytest.mark.parametrize("clear", [1, 40])
def test_a_contest_that_is_lost_ends_and_takes_nothing_back(bound: Bound, clear: int) -> None:
    """What was certified after 512 samples stays, and what comes after 1024 is not looked at any more."""
    rng = np.random.default_rng(0)
    binding = np.concatenate([normal(rng, 512, 0.3, 0.2, NEAREST), np.full((NEAREST, 2600), -0.9)], axis=1)
    binding[0, 1100:] = 0.9
    values = np.concatenate([binding, normal(rng, 3112, 0.6, 0.05, clear)])
    before, after = (reached(values[:, :n], bound, horizon=1000) for n in (512, 3112))
    assert after.rho == pytest.approx(before.rho, abs=NOISE)
    assert before.rho > 0.1
    assert after.expected < 0.001 < before.expected


@both
@pytest.mark.parametrize("n", [400, 1000, 4000])
def test_the_expected_radius_is_about_what_the_horizon_brings(bound: Bound, n: int) -> None:
    values = normal(np.random.default_rng(2), 4000, 0.3, 0.2)
    expected = reached(values[:, :n], bound, horizon=4000).expected
    assert expected == pytest.approx(reached(values, bound, horizon=4000).rho, rel=0.05)


def test_a_target_is_reached_long_before_the_horizon() -> None:
    values = normal(np.random.default_rng(2), 256, 0.3, 0.2)
    aimed = reached(values, horizon=1000, target=0.5)
    assert aimed.rho >= 0.5 > reached(values, horizon=10_000).rho
    assert aimed.expected <= 0.5


def test_with_a_target_every_bet_aims_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on the nearest rivals and those on groups."""
    aims = []

    def recorded(*known: Any) -> Plan:
        aims.append(known[-2])
        return original(*known)

    original = Book._plan
    monkeypatch.setattr(Book, "_plan", recorded)
    values, lower = several(0, 1000, 60)
    reached(values, lower=lower, target=0.25)
    assert set(aims) == {0.25}


def test_the_largest_radius_that_is_looked_at_is_certified_where_nothing_contradicts_it() -> None:
    """A margin that can hardly fall: its worst case is far beyond what one looks at."""
    assert reached(np.full((1, 500), 0.9), lower=-2 * TINY, horizon=500).rho <= LARGEST
    assert reached(np.full((1, 500), 0.9), lower=0.9 * TINY).rho == LARGEST
