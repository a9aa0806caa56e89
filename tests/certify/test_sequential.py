"""From margins to a radius: what was bet is what is counted, and no rival is lost on the way."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from certify.betting import Plan, plan
from certify.blocks import blocks, planned_for
from certify.cdf import CDF
from certify.histogram import BINS
from certify.mean import MEAN
from certify.pairs import TINY, Pairs
from certify.payoffs import LARGEST, Bound
from certify.playbook import Playbook
from certify.points import Points
from certify.positions import Positions
from certify.sequential import LEADERS, Race, Reached, SequentialTest
from tests.certify.laws import growth, most_claimed
from tests.certify.worlds import briefly, seeded

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
SELECTED = 128
ALPHA = 0.05
# Two searches for the same ρ may end so far apart.
NOISE = 3e-6
both = pytest.mark.parametrize("bound", [CDF, MEAN], ids=["cdf", "mean"])
seeds = st.integers(0, 2**32)


def contest(
    values: Array,
    bound: Bound = CDF,
    *,
    lower: Array | float = -1.0,
    upper: Array | float = 1.0,
    horizon: int | None = None,
    alpha: float = ALPHA,
    target: float | None = None,
    lost: int = 0,
) -> tuple[SequentialTest, Points]:
    """A test of margins that take the rows of `values` (K, n) where the samples are their columns."""
    count = len(values)
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), count).copy() for end in (lower, upper))
    nothing, ones = np.zeros(count), np.ones(count)
    pairs = Pairs(np.eye(count, dtype=np.float32), nothing, low, high, nothing, ones, nothing)
    points = Points.of(values.T, nothing)
    selection = Points.of(values.T[:SELECTED], nothing)
    return SequentialTest(
        pairs, bound, selection, horizon=horizon or values.shape[1], alpha=alpha, target=target, lost=lost
    ), points


def reached(values: Array, bound: Bound = CDF, **options: Any) -> Reached:
    test, points = contest(values, bound, **options)
    return test.reached(points)


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
    values = np.clip(rng.normal(centres, spreads, (count, n)), -0.7, 1.0)
    return values.astype(np.float32).astype(np.float64), rng.uniform(-1.0, -0.7, count)


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


@both
@briefly
@given(seed=seeds, n=st.sampled_from([300, 512, 1500]))
def test_the_radius_of_a_leader_is_where_its_wealth_passes_one_over_alpha(
    bound: Bound, seed: int, n: int
) -> None:
    """Block by block, by plans made from the samples before; after some block, not only the last."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(0.4, rng.uniform(0.05, 0.4), (1, n)), -1, 1)
    test, points = contest(values, bound)
    rho = test.reached(points).rho
    positions, only = Positions(test.positions.pairs, test.positions.cap), np.arange(1)
    ends = {"lower": np.array([-1.0]), "upper": np.array([test.positions.cap])}
    terms = {"most": LARGEST, "horizon": n - SELECTED, "threshold": float(np.log(1 / ALPHA))}
    seen = positions.masses(only, points, 0, SELECTED)
    unseen, bets = plan(bound, seen, *ends.values(), unseen=None, **terms).unseen, []
    for first, last in blocks(SELECTED, n):
        made = plan(bound, seen, *ends.values(), unseen=unseen, **terms)
        met = positions.masses(only, points, first, last)
        bets.append((made, met))
        seen, unseen = seen + met, made.unseen

    def wealth(rho: float) -> float:
        each = [growth(made.payoffs, made.stakes, met, rho)[0] for made, met in bets]
        return float(np.cumsum(each).max())

    assert wealth(rho + 1e-4) < np.log(1 / ALPHA)
    assert rho == 0 or wealth(rho - 1e-4) > np.log(1 / ALPHA)


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
    assert rho <= max(most_claimed(value, lower, n - SELECTED, alpha), 0.0) + 1e-5


@pytest.mark.parametrize("n", [512, 1000, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_equal_margins_get_nearly_what_any_test_could_claim(n: int, alpha: float) -> None:
    rho = reached(np.ones((1, n)), alpha=alpha).rho
    assert rho > 0.95 * most_claimed(1.0, -1.0, n - SELECTED, alpha)


@both
@briefly
@given(seed=seeds, n=st.integers(600, 1000), loss=st.floats(0.001, 0.3))
def test_smaller_margins_in_the_last_block_never_enlarge(
    bound: Bound, seed: int, n: int, loss: float
) -> None:
    """The bets on them are made before: only what they win changes."""
    values, lower = several(seed, n, 60)
    worse = values.copy()
    worse[:, 512:] = np.maximum(worse[:, 512:] - loss, lower[:, None])
    assert reached(worse, bound, lower=lower).rho <= reached(values, bound, lower=lower).rho + NOISE


@both
@pytest.mark.parametrize("count", [3, 60, 200])
def test_bets_on_a_block_are_chosen_before_it(
    bound: Bound, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other samples from the 1024th on: the same plans and picks while only 1024 are seen."""
    chosen: list[Array] = []

    def planned(test: SequentialTest, seen: Array, unseen: Array, first: int) -> Playbook:
        made = playbook(test, seen, unseen, first)
        if first <= 1024:
            chosen.append(np.stack([made.plan.rho, made.plan.stakes]))
        return made

    def picked(book: Playbook, seen: Array) -> Rows:
        found = picks(book, seen)
        for masses, pick in zip(seen, found, strict=True):
            if masses.sum() < 1024:
                taken[masses.tobytes()] = int(pick)
        return found

    playbook, picks = SequentialTest._playbook, Playbook.picks
    monkeypatch.setattr(SequentialTest, "_playbook", planned)
    monkeypatch.setattr(Playbook, "picks", picked)
    values = normal(np.random.default_rng(5), 1500, 0.4, 0.2, count)
    every = []
    for _ in range(2):
        chosen, taken = [], {}
        reached(values, bound, horizon=4000)
        every.append((chosen, taken))
        values[:, 1024:] *= 0.95
    (one, mine), (other, yours) = every
    assert len(one) >= 4
    for before, after in zip(one[:4], other[:4], strict=True):
        np.testing.assert_array_equal(before, after)
    for masses in mine.keys() & yours.keys():
        assert mine[masses] == yours[masses]
    assert count <= LEADERS or mine.keys() & yours.keys()


# --- rivals


@briefly
@given(seed=seeds, count=st.integers(2, 40))
def test_the_radius_of_several_rivals_is_about_the_smallest_of_theirs(seed: int, count: int) -> None:
    """But for where knots are; and those that pick may be bet on a little worse than by themselves."""
    values, lower = several(seed, 900, count)
    alone = [reached(values[[k]], lower=lower[[k]]).rho for k in range(count)]
    found = reached(values, lower=lower).rho
    assert 0.85 * min(alone) - 0.02 <= found <= 1.1 * min(alone) + 0.02


@both
@briefly
@given(seed=seeds, count=st.integers(2, 60))
def test_the_order_of_rivals_does_not_matter(bound: Bound, seed: int, count: int) -> None:
    values, lower = several(seed, 900, count)
    shuffled = np.random.default_rng(seed).permutation(count)
    found = reached(values[shuffled], bound, lower=lower[shuffled]).rho
    assert found == pytest.approx(reached(values, bound, lower=lower).rho, abs=NOISE)


@both
@pytest.mark.parametrize("copies", [2, LEADERS, LEADERS + 1, 100])
def test_copies_of_a_rival_change_nothing(bound: Bound, copies: int) -> None:
    values = normal(np.random.default_rng(1), 1000, 0.3, 0.2)
    alone = reached(values, bound).rho
    together = reached(np.tile(values, (copies, 1)), bound).rho
    assert 0.98 * alone - NOISE <= together <= alone + NOISE


@both
@pytest.mark.parametrize("clear", [1, 20, 40, 200])
@pytest.mark.parametrize("seed", range(3))
def test_clear_rivals_leave_the_radius_about_as_it_is(bound: Bound, clear: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    binding = normal(rng, 1000, 0.25, 0.2, 3)
    far = normal(rng, 1000, 0.6, 0.05, clear)
    together = reached(np.concatenate([far, binding]), bound).rho
    assert together == pytest.approx(reached(binding, bound).rho, rel=0.06)
    assert together > 0.2


@both
@pytest.mark.parametrize("clear", [1, 40, 200])
@pytest.mark.parametrize("mean", [-0.3, -0.02, 0.0])
@pytest.mark.parametrize("seeming", [0.6, 0.9])
def test_a_rival_that_looks_clear_and_wins_leaves_nothing(
    bound: Bound, clear: int, mean: float, seeming: float
) -> None:
    """Be it as clear as others, or the clearest."""
    rng = np.random.default_rng(clear)
    values = np.concatenate([normal(rng, 3000, 0.25, 0.2, LEADERS), normal(rng, 3000, 0.6, 0.05, clear)])
    assert reached(values, bound).rho > 0.2
    winning = normal(rng, 3000, mean, 0.05)
    winning[0, :SELECTED] = values[-1, :SELECTED] if seeming == 0.6 else seeming
    assert reached(np.concatenate([winning, values]), bound).rho == 0


@both
@pytest.mark.parametrize("clear", [1, 40])
def test_what_a_rival_cost_is_not_forgotten(bound: Bound, clear: int) -> None:
    """It wins 128 times in a row, then never again: no later run of luck makes up for that."""
    rng = np.random.default_rng(0)
    values = np.concatenate([normal(rng, 1024, 0.25, 0.2, LEADERS), normal(rng, 1024, 0.6, 0.05, clear)])
    assert reached(values, bound).rho > 0.2
    values[-1, SELECTED : 2 * SELECTED] = -0.9
    assert reached(values[[-1]], bound).rho == 0
    assert reached(values, bound).rho == 0


@both
def test_every_rival_has_won_enough_when_it_is_let_go(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the radius that is certified, counted again from its own samples, by the plans that it picked."""
    checked = 0

    def recorded(test: SequentialTest, positions: Positions, rows: Rows, look: Race, *rest: Any) -> Any:
        looks.append((rows, look))
        return slow(test, positions, rows, look, *rest)

    slow = SequentialTest._slow
    monkeypatch.setattr(SequentialTest, "_slow", recorded)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values = np.concatenate(
            [normal(rng, 2500, 0.25, 0.2, LEADERS)]
            + [normal(rng, 2500, mean, rng.uniform(0.02, 0.3), 16) for mean in rng.uniform(0.3, 0.8, 5)]
        )
        unlucky = rng.integers(LEADERS, len(values), 6)
        for rival, first in zip(unlucky, rng.integers(SELECTED, 1500, 6), strict=True):
            values[rival, first : first + rng.integers(1, 100)] = rng.uniform(-0.9, 0.1)
        looks: list[tuple[Rows, Race]] = []
        test, points = contest(values, bound, horizon=2500)
        rho = test.reached(points).rho
        if rho == 0:
            continue
        ((others, look),) = looks
        assert sorted([*others, *test.leaders]) == list(range(len(values)))
        for row in others:
            only = np.array([row])
            seen, wealth, best = test.positions.masses(only, points, 0, SELECTED), 0.0, -np.inf
            for (first, last), book in zip(look.spans, look.books, strict=True):
                met = test.positions.masses(only, points, first, last)
                mine: Plan = book.plan.of(book.picks(seen))
                wealth += growth(mine.payoffs, mine.stakes, met, rho)[0]
                best, seen = max(best, wealth), seen + met
            # By picks, or by plans of its own, over the share of its wealth that is staked so.
            own = test._own(test.positions, only, look).surplus(rho)[0]
            assert best > test.threshold - np.log(0.9) - 1e-9 or own > -1e-9
            checked += 1
    assert checked > 50


@both
@briefly
@given(seed=seeds, count=st.integers(2, 32), lost=st.integers(1, 4))
def test_some_rivals_may_be_lost_and_the_radius_is_that_of_the_next(
    bound: Bound, seed: int, count: int, lost: int
) -> None:
    """About the (lost + 1)-th smallest of the radii that they get alone; one more lost is never worse."""
    values, lower = several(seed, 900, count)
    found = reached(values, bound, lower=lower, lost=lost).rho
    if count <= lost:
        assert found == np.inf
        return
    alone = np.sort([reached(values[[k]], bound, lower=lower[[k]]).rho for k in range(count)])
    assert found <= 1.2 * alone[lost] + 0.05
    assert bound is MEAN or found >= 0.7 * alone[lost] - 0.05
    assert found >= 0.9 * reached(values, bound, lower=lower, lost=lost - 1).rho


# --- ends


@both
def test_margins_that_cannot_fall_below_0_are_in_no_doubt(bound: Bound) -> None:
    values = np.full((2, 300), 0.1)
    assert reached(values, bound, lower=np.array([1e-3, 2 * TINY])) == Reached(np.inf, np.inf, np.inf)
    assert reached(values[:0], bound) == Reached(np.inf, np.inf, np.inf)


@both
@pytest.mark.parametrize("upper", [0.0, -0.5, 1e-12])
def test_a_margin_that_is_never_positive_has_radius_0(bound: Bound, upper: float) -> None:
    values = np.stack([np.full(300, 0.5), np.full(300, upper)])
    assert reached(values, bound, upper=np.array([1.0, upper])).rho == 0


@both
@briefly
@given(seed=seeds, count=st.integers(1, 30))
def test_margins_in_no_doubt_do_not_count(bound: Bound, seed: int, count: int) -> None:
    values, lower = several(seed, 600, 20)
    sure = np.full((count, 600), 0.01)
    found = reached(np.concatenate([sure, values]), bound, lower=np.append(np.full(count, 0.005), lower))
    expected = reached(values, bound, lower=lower)
    assert found.rho == pytest.approx(expected.rho, abs=1e-4)
    assert found.expected == pytest.approx(expected.expected, abs=1e-4)


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
    binding = np.concatenate([normal(rng, 512, 0.3, 0.2, LEADERS), np.full((LEADERS, 2600), -0.9)], axis=1)
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


def test_with_a_target_every_bet_aims_at_it_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    values, lower = several(0, 1000, 60)
    test, points = contest(values, lower=lower, target=0.25)
    test.reached(points)
    assert test._books
    for book in test._books:
        assert (book.plan.rho <= 0.25).all()


def test_the_largest_radius_that_is_looked_at_is_certified_where_nothing_contradicts_it() -> None:
    """A margin that can hardly fall: its worst case is far beyond what one looks at."""
    assert reached(np.full((1, 500), 0.9), lower=-2e-6, horizon=500).rho <= LARGEST


def test_shapes_that_nobody_need_have_weigh_as_much_as_a_sample() -> None:
    test, _ = contest(normal(np.random.default_rng(0), 300, 0.3, 0.2, 30))
    np.testing.assert_allclose(test.shapes.sum(axis=1), 1, rtol=1e-12)
    assert test.shapes.shape[1] == BINS + 1
    assert (test.shapes >= 0).all()
