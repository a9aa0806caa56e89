"""A margin says which of two items is nearer, stays in its range, and bounds the items nobody listed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace
from certify.margins import Margins, pair_margins
from certify.sequential import TINY
from tests.certify.spaces import extreme, members, seeds, spaces
from tests.certify.worlds import seeded

Array = NDArray[np.float64]


def every(margins: Margins, samples: Array) -> Array:
    """All margins at all samples."""
    return margins.at(np.arange(len(margins)), samples)


def halved_difference(samples: Array, winners: Array, rivals: Array) -> Array:
    """(||v - r_b||² - ||v - r_a||²) / 2: for each pair (K, d) a row of all samples."""
    to_winners = ((samples[None] - winners[:, None]) ** 2).sum(axis=2)
    to_rivals = ((samples[None] - rivals[:, None]) ** 2).sum(axis=2)
    halved: Array = (to_rivals - to_winners) / 2
    return halved


def exact(space: EmbeddingSpace) -> EmbeddingSpace:
    return replace(space, slack=0.0)


@seeded
@given(spaces, seeds, st.integers(1, 8))
def test_a_margin_is_half_the_difference_of_squared_distances(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    """Items may lie anywhere; the ranges hold every member of the space, and are attained."""
    rng = np.random.default_rng(seed)
    samples = members(space, dimension, rng)
    winners, rivals = rng.standard_normal((2, 4, dimension))
    margins = pair_margins(winners, rivals, exact(space))
    values = every(margins, samples)
    np.testing.assert_allclose(values, halved_difference(samples, winners, rivals), atol=1e-12)
    assert len(margins) == 4
    assert (values >= margins.lower[:, None] - 1e-12).all()
    assert (values <= margins.upper[:, None] + 1e-12).all()
    for k, weight in enumerate(winners - rivals):
        ends = np.stack([extreme(space, -weight), extreme(space, weight)])
        attained = halved_difference(ends, winners[k : k + 1], rivals[k : k + 1])[0]
        np.testing.assert_allclose(attained, [margins.lower[k], margins.upper[k]], atol=1e-12)


@seeded
@given(seeds, st.booleans(), st.data())
def test_margins_at_any_rows_and_any_samples(seed: int, unlisted: bool, data: st.DataObject) -> None:
    """In the order asked for, repetitions included, the last one among them."""
    rng = np.random.default_rng(seed)
    samples, centre = 0.3 * rng.standard_normal((20, 3)), 0.1 * rng.standard_normal(3)
    winners, rivals = rng.standard_normal((2, 5, 3))
    rest = (winners[0], centre, 1.2) if unlisted else None
    margins = pair_margins(winners, rivals, EmbeddingSpace(norm_bound=4.0), rest)
    expected = halved_difference(samples, winners, rivals)
    if unlisted:
        kept = np.maximum(1.2 - np.linalg.norm(samples - centre, axis=1), 0.0)
        phi = (kept**2 - ((samples - winners[0]) ** 2).sum(axis=1)) / 2
        expected = np.concatenate([expected, phi[None]])
    assert len(margins) == len(expected)
    rows = np.array(data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=8)), dtype=np.int64)
    first, last = sorted(data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    found = margins.at(rows, samples[first:last])
    assert found.shape == (len(rows), last - first)
    np.testing.assert_allclose(found, expected[rows, first:last], atol=1e-12)


@seeded
@given(spaces, seeds, st.integers(1, 8), st.floats(0, 3))
def test_the_last_margin_is_below_that_over_every_item_outside(
    space: EmbeddingSpace, seed: int, dimension: int, outside: float
) -> None:
    rng = np.random.default_rng(seed)
    samples = members(space, dimension, rng)
    winner, centre = 0.7 * rng.standard_normal((2, dimension))
    none = np.zeros((0, dimension))
    margins = pair_margins(none, none, exact(space), (winner, centre, outside))
    values = every(margins, samples)
    directions = rng.standard_normal((100, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rivals = centre + outside * directions * rng.choice([1.0, 1.5], 100)[:, None]
    true = halved_difference(samples, np.broadcast_to(winner, rivals.shape), rivals)
    assert (values <= true + 1e-12).all()
    assert (values >= margins.lower[:, None] - 1e-12).all()
    assert (values <= margins.upper[:, None] + 1e-12).all()


def test_the_last_margin_is_attained_by_the_item_behind_the_sample() -> None:
    """The item at distance `outside` from the centre, in the direction of the sample, is the worst one."""
    centre, winner, sample = np.array([0.1, 0.2]), np.array([0.3, 0.1]), np.array([0.4, 0.6])
    away = (sample - centre) / np.linalg.norm(sample - centre)
    none = np.zeros((0, 2))
    bound = pair_margins(none, none, EmbeddingSpace(), (winner, centre, 0.9))
    worst = halved_difference(sample[None], winner[None], (centre + 0.9 * away)[None])
    assert every(bound, sample[None])[0, 0] == pytest.approx(worst[0, 0], rel=1e-12)


def test_a_sample_beyond_all_that_is_listed_may_lie_on_a_rival() -> None:
    """Farther from the centre than `outside`, a rival may be where the sample is."""
    winner, centre, sample = np.array([0.5, 0.0]), np.zeros(2), np.array([0.0, 0.9])
    none = np.zeros((0, 2))
    bound = pair_margins(none, none, EmbeddingSpace(), (winner, centre, 0.4))
    assert every(bound, sample[None])[0, 0] == pytest.approx(-(0.5**2 + 0.9**2) / 2, rel=1e-12)


@seeded
@given(spaces, seeds, st.integers(1, 8), st.floats(0, 0.3), st.floats(0, 3))
def test_no_sample_that_is_off_by_the_slack_is_taken_for_too_much(
    space: EmbeddingSpace, seed: int, dimension: int, slack: float, outside: float
) -> None:
    """Against the margins of the embeddings themselves, both within the space."""
    rng = np.random.default_rng(seed)
    truth = members(space, dimension, rng)
    # Towards the winner or towards another member, as far as the slack allows.
    winners, rivals = rng.standard_normal((2, 3, dimension))
    others = np.where(rng.random((len(truth), 1)) < 0.5, extreme(space, winners[0]), rng.permutation(truth))
    moves = others - truth
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    samples = truth + moves * np.minimum(1.0, slack / np.maximum(lengths, 1e-300))
    unlisted = (winners[0], 0.5 * rng.standard_normal(dimension), outside)
    true = pair_margins(winners, rivals, exact(space), unlisted)
    taken = pair_margins(winners, rivals, replace(space, slack=slack), unlisted)
    assert (every(taken, samples) <= every(true, truth) + 1e-12).all()
    np.testing.assert_array_equal(taken.lower, true.lower)
    np.testing.assert_array_equal(taken.upper, true.upper)


@seeded
@given(seeds, st.integers(1, 6), st.floats(0, 0.3))
def test_no_more_slack_is_taken_off_a_pair_than_a_sample_may_be_off(
    seed: int, dimension: int, slack: float
) -> None:
    """Moved along w by all of the slack, a sample comes out where the embedding was."""
    rng = np.random.default_rng(seed)
    winner, rival = rng.standard_normal((2, 1, dimension))
    truth = 0.3 * rng.standard_normal((10, dimension))
    weight = winner - rival
    moved = truth + slack * weight / np.linalg.norm(weight)
    taken = pair_margins(winner, rival, EmbeddingSpace(norm_bound=9.0, slack=slack))
    np.testing.assert_allclose(every(taken, moved), halved_difference(truth, winner, rival), atol=1e-10)


def test_slack_of_the_last_margin_in_closed_form() -> None:
    """On the line the farthest member from the winner 0.5 is -1: slack times (0.8 + 1.5)."""
    samples, none = np.array([[0.2], [-0.4]]), np.zeros((0, 1))
    unlisted = (np.array([0.5]), np.zeros(1), 0.8)
    sharp, blunt = (
        every(pair_margins(none, none, EmbeddingSpace(norm_bound=1.0, slack=slack), unlisted), samples)
        for slack in (0.0, 0.1)
    )
    np.testing.assert_allclose(sharp - blunt, 0.1 * 2.3, rtol=1e-12)


def test_items_one_unit_in_the_last_place_apart_may_lose_to_one_another() -> None:
    """The midpoint of two non-negative items is a possible embedding, and their margin is 0 there."""
    rng = np.random.default_rng(1)
    space = EmbeddingSpace(nonnegative=True)
    for _ in range(50):
        winner = np.abs(rng.standard_normal(3))
        winner /= 1.2 * np.linalg.norm(winner)
        rival = winner.copy()
        rival[0] = np.nextafter(rival[0], 0)
        margins = pair_margins(winner[None], rival[None], space)
        assert margins.lower[0] <= TINY
