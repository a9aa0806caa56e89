"""A margin says which of two items is nearer, and is never below the end of its range."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace
from certify.pairs import TINY, Pairs, pairs
from tests.certify.spaces import extreme, members, seeds, spaces
from tests.certify.worlds import seeded

Array = NDArray[np.float64]


def each(winners: Array, rivals: Array, space: EmbeddingSpace) -> Pairs:
    """Winner k against rival k."""
    return pairs(winners, rivals, np.arange(len(rivals)), space)


def every(margins: Pairs, samples: Array) -> Array:
    """All margins at all samples, as far as weights in float32 say."""
    values: Array = margins.weights.astype(np.float64) @ samples.T - margins.offsets[:, None]
    return values - margins.loss[:, None]


def halved_difference(samples: Array, winners: Array, rivals: Array) -> Array:
    """(||v - r_b||² - ||v - r_a||²) / 2: for each pair (K, d) a row of all samples."""
    to_winners = ((samples[None] - winners[:, None]) ** 2).sum(axis=2)
    to_rivals = ((samples[None] - rivals[:, None]) ** 2).sum(axis=2)
    halved: Array = (to_rivals - to_winners) / 2
    return halved


def items(rng: np.random.Generator, count: int, dimension: int) -> tuple[Array, Array]:
    """Winners and rivals whose differences float32 holds."""
    return tuple(np.round(rng.standard_normal((2, count, dimension)) * 2**12) / 2**12)  # type: ignore[return-value]


@seeded
@given(spaces, seeds, st.integers(1, 8))
def test_a_margin_is_half_the_difference_of_squared_distances(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    """Items may lie anywhere; the ranges hold every member of the space, and are attained."""
    rng = np.random.default_rng(seed)
    samples = members(space, dimension, rng)
    winners, rivals = items(rng, 4, dimension)
    margins = each(winners, rivals, replace(space, slack=0.0))
    values = halved_difference(samples, winners, rivals)
    np.testing.assert_allclose(every(margins, samples), values, atol=1e-11)
    assert len(margins) == 4
    assert (values >= margins.lower[:, None]).all()
    assert (values <= margins.upper[:, None] + 1e-12).all()
    for k, weight in enumerate(winners - rivals):
        ends = np.stack([extreme(space, -weight), extreme(space, weight)])
        attained = halved_difference(ends, winners[k : k + 1], rivals[k : k + 1])[0]
        np.testing.assert_allclose(attained, [margins.lower[k], margins.upper[k]], atol=1e-11)


@seeded
@given(spaces, seeds, st.integers(1, 8), st.floats(0, 0.3))
def test_no_sample_that_is_off_by_the_slack_is_taken_for_too_much(
    space: EmbeddingSpace, seed: int, dimension: int, slack: float
) -> None:
    """Against the margins of the embeddings themselves, both within the space."""
    rng = np.random.default_rng(seed)
    truth = members(space, dimension, rng)
    # Towards the winner or towards another member, as far as the slack allows.
    winners, rivals = items(rng, 3, dimension)
    others = np.where(rng.random((len(truth), 1)) < 0.5, extreme(space, winners[0]), rng.permutation(truth))
    moves = others - truth
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    samples = truth + moves * np.minimum(1.0, slack / np.maximum(lengths, 1e-300))
    taken = each(winners, rivals, replace(space, slack=slack))
    assert (every(taken, samples) <= halved_difference(truth, winners, rivals) + 1e-15).all()
    np.testing.assert_array_equal(taken.lower, each(winners, rivals, replace(space, slack=0.0)).lower)


@seeded
@given(seeds, st.integers(1, 6), st.floats(0, 0.3))
def test_no_more_slack_is_taken_off_a_pair_than_a_sample_may_be_off(
    seed: int, dimension: int, slack: float
) -> None:
    """Moved along w by all of the slack, a sample comes out where the embedding was."""
    rng = np.random.default_rng(seed)
    winner, rival = items(rng, 1, dimension)
    truth = 0.3 * rng.standard_normal((10, dimension))
    weight = winner - rival
    moved = truth + slack * weight / np.linalg.norm(weight)
    taken = each(winner, rival, EmbeddingSpace(norm_bound=9.0, slack=slack))
    np.testing.assert_allclose(every(taken, moved), halved_difference(truth, winner, rival), atol=1e-10)


def test_each_rival_meets_the_winner_that_was_chosen() -> None:
    rng = np.random.default_rng(0)
    winners, rivals = items(rng, 5, 3)
    chosen = np.array([2, 0, 2, 4, 1])
    found, expected = (
        pairs(winners, rivals, chosen, EmbeddingSpace()),
        each(winners[chosen], rivals, EmbeddingSpace()),
    )
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    some = found.of(np.array([3, 3, 1]))
    np.testing.assert_array_equal(some.lower, found.lower[[3, 3, 1]])


def test_pairs_prepared_in_batches_are_all_pairs(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    winners, rivals = items(rng, 10, 3)
    whole = each(winners, rivals, EmbeddingSpace(slack=0.1))
    monkeypatch.setattr("certify.pairs.BATCH", 3)  # type: ignore[attr-defined]
    parts = each(winners, rivals, EmbeddingSpace(slack=0.1))
    for name in ("weights", "offsets", "lower", "upper", "loss", "norms"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_items_one_unit_in_the_last_place_apart_may_lose_to_one_another() -> None:
    """The midpoint of two non-negative items is a possible embedding, and their margin is 0 there."""
    rng = np.random.default_rng(1)
    space = EmbeddingSpace(nonnegative=True)
    for _ in range(50):
        winner = np.abs(rng.standard_normal(3))
        winner /= 1.2 * np.linalg.norm(winner)
        rival = winner.copy()
        rival[0] = np.nextafter(rival[0], 0)
        margins = each(winner[None], rival[None], space)
        assert margins.lower[0] <= TINY
        assert margins.doubtful.all()
