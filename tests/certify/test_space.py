"""What is said of the set of embeddings holds for its members, and for some of them with equality."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace
from certify.space import normalized_bound
from tests.certify.spaces import extreme, members, seeds, spaces
from tests.certify.worlds import seeded

Array = NDArray[np.float64]


@seeded
@given(spaces, seeds, st.integers(1, 8))
def test_the_lower_end_is_below_every_member_and_attained(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    weights, offsets = rng.standard_normal((5, dimension)), rng.standard_normal(5)
    weights[0] = np.abs(weights[0])
    weights[1] = -weights[0]
    low = space.lower_end(weights, offsets)
    values = members(space, dimension, rng) @ weights.T - offsets
    assert (values >= low - 1e-12).all()
    for k, weight in enumerate(weights):
        assert weight @ extreme(space, -weight) - offsets[k] == pytest.approx(low[k], abs=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_holds_its_members_and_nothing_else(nonnegative: bool) -> None:
    space = EmbeddingSpace.normalized(2, nonnegative=nonnegative)
    unit = np.array([[0.6, 0.8], [1, 0], [0, 0]], dtype=np.float32)
    assert space.holds(unit)
    assert space.holds(np.zeros((0, 2), np.float32))
    for value in (np.nan, np.inf, -np.inf, 1.0001):
        assert not space.holds(np.concatenate([unit, [[value, 0]]]).astype(np.float32))
    assert not space.holds(np.concatenate([unit, [[0.7072, 0.7072]]]).astype(np.float32))
    assert space.holds(np.concatenate([unit, [[-0.5, 0]]]).astype(np.float32)) is not nonnegative


@seeded
@given(spaces, seeds, st.integers(1, 8))
def test_holds_every_member_of_a_space_but_for_the_last_bit(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    assert space.holds((1 - 1e-12) * members(space, dimension, np.random.default_rng(seed)))


def test_padded_members_end_in_zero() -> None:
    padded, bare = EmbeddingSpace(padded=True), EmbeddingSpace()
    level, raised = np.array([[0.6, 0.8, 0.0]]), np.array([[0.6, 0.7, 0.1], [0.6, 0.8, 0.0]])
    assert padded.holds(level)
    assert bare.holds(raised)
    assert not padded.holds(raised)
    assert padded.holds(np.zeros((0, 3)))


@seeded
@given(seeds, st.integers(1, 8), st.booleans())
def test_padding_is_an_item_s_height_above_the_space_and_no_more(
    seed: int, dimension: int, nonnegative: bool
) -> None:
    """Weights on the last coordinate move no member."""
    rng = np.random.default_rng(seed)
    weights, offsets = rng.standard_normal((4, dimension)), rng.standard_normal(4)
    heights = rng.standard_normal(4)
    bare, padded = (EmbeddingSpace(nonnegative, padded=flag) for flag in (False, True))
    lifted = padded.lower_end(np.column_stack([weights, heights]), offsets)
    np.testing.assert_allclose(lifted, bare.lower_end(weights, offsets), rtol=1e-14)


def test_slack_is_about_samples_not_about_where_embeddings_lie() -> None:
    sharp, slack = EmbeddingSpace(norm_bound=1.0), EmbeddingSpace(norm_bound=1.0, slack=0.1)
    weights, offsets = np.array([[0.3, -0.4], [1.0, 2.0]]), np.array([0.1, -0.2])
    np.testing.assert_array_equal(sharp.lower_end(weights, offsets), slack.lower_end(weights, offsets))
    assert not slack.holds(np.array([[1.05, 0.0]]))


def test_holds_float32_rows_normalised_in_float32() -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 512), dtype=np.float32)
    space = EmbeddingSpace.normalized(512)
    assert space.holds(rows / np.linalg.norm(rows, axis=1, keepdims=True))


DIMENSIONS = [1, 2, 3, 64, 330, 512, 1000, 2048, 4096]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_norm_bound_covers_any_rounding_of_float32_and_little_more(dimension: int) -> None:
    """All that the model of rounding allows at once: each sum rounded down, the root too, quotients up."""
    u = Fraction(1, 2**24)
    lost = dimension * u / (1 - dimension * u)
    # Squares, so that nothing is irrational: ((1 + u) / (1 - u))² / (1 - γ).
    worst = ((1 + u) / (1 - u)) ** 2 / (1 - lost)
    bound = Fraction(normalized_bound(dimension))
    assert worst <= bound**2 <= worst * (1 + Fraction(1, 10**14))
    assert bound <= 1 + (Fraction(dimension, 2) + 4) * u


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_vectors_that_float32_makes_too_long_are_held(dimension: int) -> None:
    """Summed one after another in float32: after one large square, small ones are lost entirely."""
    rng = np.random.default_rng(dimension)
    longest = 0.0
    for small in 2.0 ** -np.arange(8, 13.5, 0.25):
        vector = np.full(dimension, small, np.float32)
        vector[0] = 1
        vector[1:] *= rng.uniform(0.9, 1, dimension - 1).astype(np.float32)
        total = np.cumsum(vector * vector, dtype=np.float32)[-1]
        row = (vector / np.sqrt(total))[None]
        assert EmbeddingSpace.normalized(dimension).holds(row)
        longest = max(longest, float(np.linalg.norm(row.astype(np.float64))))
    if dimension > 1000:  # where one slack for all dimensions was too little
        assert longest > 1 + 1e-5


@pytest.mark.parametrize("dimension", [0, -1, 2**22, 2**24])
def test_no_bound_is_made_up_where_float32_tells_nothing(dimension: int) -> None:
    with pytest.raises(ValueError, match="no bound is known"):
        normalized_bound(dimension)
