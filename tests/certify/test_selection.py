"""What the first samples choose: the winner that a rival meets, and which rivals look dangerous."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from certify import EmbeddingSpace
from certify.histogram import BINS
from certify.pairs import pairs
from certify.selection import SEEN_TO, best_winners, danger
from tests.certify.laws import linear_binning
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
SPACE = EmbeddingSpace()


def standing(samples: Array, winner: Array, rival: Array) -> float:
    """Mean over standard deviation of a margin."""
    pair = pairs(winner[None], rival[None], np.zeros(1, np.int64), SPACE)
    values = samples @ (winner - rival) - pair.offsets[0]
    return float(values.mean() / values.std())


@seeded
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6), st.integers(1, 17))
def test_best_winners_against_a_loop_over_all_pairs(
    seed: int, candidates: int, rivals: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = 0.2 * rng.standard_normal((50, dimension))
    winners, others = rng.standard_normal((candidates, dimension)), rng.standard_normal((rivals, dimension))
    for rival, chosen in zip(others, best_winners(samples, winners, others), strict=True):
        scores = [standing(samples, winner, rival) for winner in winners]
        assert scores[chosen] >= max(scores) - 1e-6 * max(1, abs(max(scores)))


def test_whoever_else_is_asked_about_changes_no_choice() -> None:
    """Bets must not know who else is looked at, which later samples may decide."""
    rng = np.random.default_rng(0)
    samples, winners = rng.standard_normal((128, 65)), rng.standard_normal((40, 65))
    rivals = rng.standard_normal((500, 65))
    every = best_winners(samples, winners, rivals)
    for some in (rng.permutation(500)[:n] for n in (1, 2, 3, 7, 64, 499)):
        np.testing.assert_array_equal(best_winners(samples, winners, rivals[some]), every[some])


def test_the_best_candidate_differs_from_rival_to_rival() -> None:
    """Samples spread along the first axis: a candidate beside the rival leaves that axis out of the pair."""
    samples = np.stack([np.linspace(-0.5, 0.5, 51), np.zeros(51)], axis=1)
    candidates = np.array([[0.0, 0.1], [0.5, 0.2], [-0.5, 0.2]])
    rivals = np.array([[0.5, 0.9], [-0.5, 0.9], [0.0, 0.9]])
    assert best_winners(samples, candidates, rivals).tolist() == [1, 2, 0]


def test_no_spread_is_no_division_by_zero() -> None:
    samples = np.zeros((5, 2))
    candidates = np.array([[0.5, 0.0], [0.1, 0.0]])
    assert best_winners(samples, candidates, np.array([[1.0, 0.0]])).tolist() == [1]
    assert best_winners(samples, candidates, np.zeros((0, 2))).tolist() == []


def seen(values: Array) -> Array:
    return linear_binning(values, np.full(len(values), -1.0), np.full(len(values), SEEN_TO))


def test_danger_is_mean_over_deviation_where_a_margin_varies_and_is_limited_where_it_does_not() -> None:
    quantiles = ndtri((np.arange(1000) + 0.5) / 1000)
    varied = np.clip(0.3 + 0.3 * quantiles, -1, SEEN_TO)[None]
    assert danger(seen(varied), 1e-4)[0] == pytest.approx(0.95, abs=0.06)
    steady = np.full((1, 1000), 0.25)
    expected = ndtri(0.99) - ndtri(1 / 1.25)
    assert danger(seen(steady), 0.01)[0] == pytest.approx(expected, rel=0.05)


@seeded
@given(st.integers(0, 2**32))
def test_danger_orders_and_is_finite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masses = rng.exponential(size=(20, BINS + 1)) * (rng.random((20, BINS + 1)) < 0.2)
    masses[:, rng.integers(0, BINS)] += 1
    found = danger(masses, 0.007)
    assert np.isfinite(found).all()
    better = masses.copy()
    better[:, -1] += better[:, 0]
    better[:, 0] = 0
    lost = masses[:, 0] > 0
    assert (danger(better, 0.007)[lost] > found[lost]).all()
