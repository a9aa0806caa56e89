"""The candidate that is set against a rival is the one whose margin has the best mean to deviation."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace
from certify.margins import Margins, pair_margins
from certify.selection import best_outside_winner, best_winners
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
SPACE = EmbeddingSpace()


def standing(margins: Margins, samples: Array) -> float:
    """Mean over standard deviation of the last margin."""
    values = margins.at(np.array([len(margins) - 1]), samples)
    return float(values.mean() / values.std())


@seeded
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_best_winners_against_a_loop_over_all_pairs(
    seed: int, candidates: int, rivals: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = 0.2 * rng.standard_normal((50, dimension))
    winners, others = rng.standard_normal((candidates, dimension)), rng.standard_normal((rivals, dimension))
    for rival, chosen in zip(others, best_winners(samples, winners, others), strict=True):
        scores = [standing(pair_margins(a[None], rival[None], SPACE), samples) for a in winners]
        assert scores[chosen] >= max(scores) - 1e-6 * max(1, abs(max(scores)))


@seeded
@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0.1, 2))
def test_best_outside_winner_against_a_loop(seed: int, candidates: int, outside: float) -> None:
    rng = np.random.default_rng(seed)
    samples, winners = 0.2 * rng.standard_normal((50, 3)), rng.standard_normal((candidates, 3))
    centre = samples.mean(axis=0)
    none = np.zeros((0, 3))
    scores = [standing(pair_margins(none, none, SPACE, (a, centre, outside)), samples) for a in winners]
    # The selection's guard against a deviation of zero moves a score by up to 1e-5 of itself.
    assert scores[best_outside_winner(samples, winners, centre, outside)] >= max(scores) - 1e-4 * max(
        1, abs(max(scores))
    )


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
    assert best_outside_winner(samples, candidates, np.zeros(2), 1.0) == 1
    assert best_winners(samples, candidates, np.zeros((0, 2))).tolist() == []
