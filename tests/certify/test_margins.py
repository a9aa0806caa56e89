"""A margin says which of two items is nearer, stays in its range, and bounds the items nobody listed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import EmbeddingSpace
from certify.margins import outside_margin, pair_margins
from tests.certify.test_space import members, seeds, spaces
from tests.certify.worlds import seeded


@seeded
@given(spaces, seeds, st.integers(1, 8))
def test_pair_margin_is_half_the_difference_of_squared_distances(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = members(space, dimension, rng)
    winners, rivals = rng.standard_normal((2, 4, dimension))
    margins = pair_margins(samples, winners, rivals, space)
    to_winners = ((samples[None] - winners[:, None]) ** 2).sum(axis=2)
    to_rivals = ((samples[None] - rivals[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(margins.values, (to_rivals - to_winners) / 2, atol=1e-12)
    assert (margins.values >= margins.lower[:, None] - 1e-12).all()
    assert (margins.values <= margins.upper[:, None] + 1e-12).all()


@seeded
@given(spaces, seeds, st.integers(1, 8), st.floats(0, 3))
def test_outside_margin_is_below_the_margin_over_every_item_outside(
    space: EmbeddingSpace, seed: int, dimension: int, outside: float
) -> None:
    rng = np.random.default_rng(seed)
    samples = members(space, dimension, rng)
    winner, centre = 0.7 * rng.standard_normal((2, dimension))
    bound = outside_margin(samples, winner, centre, outside, space)
    directions = rng.standard_normal((100, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rivals = centre + outside * directions * rng.choice([1.0, 1.5], 100)[:, None]
    true = pair_margins(samples, np.broadcast_to(winner, rivals.shape), rivals, space).values
    assert (bound.values <= true + 1e-12).all()
    assert (bound.values >= bound.lower[:, None] - 1e-12).all()
    assert (bound.values <= bound.upper[:, None] + 1e-12).all()


def test_outside_margin_is_attained_by_the_item_behind_the_sample() -> None:
    """The item at distance `outside` from the centre, in the direction of the sample, is the worst one."""
    centre, winner, sample = np.array([0.1, 0.2]), np.array([0.3, 0.1]), np.array([0.4, 0.6])
    away = (sample - centre) / np.linalg.norm(sample - centre)
    space = EmbeddingSpace()
    bound = outside_margin(sample[None], winner, centre, 0.9, space)
    worst = pair_margins(sample[None], winner[None], (centre + 0.9 * away)[None], space)
    assert bound.values[0, 0] == pytest.approx(worst.values[0, 0], rel=1e-12)
