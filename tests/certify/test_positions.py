"""No margin counts as more than it is, whatever float32 rounds, and nobody's masses depend on others."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify.histogram import BINS
from certify.kernels import PARTS
from certify.pairs import Pairs, pairs
from certify.points import Points
from certify.positions import Positions
from certify.space import EmbeddingSpace
from tests.certify.worlds import briefly, seeded

Array = NDArray[np.float64]
seeds = st.integers(0, 2**32)


def contest(seed: int, dimension: int, count: int = 20, n: int = 60) -> tuple[Pairs, Array, EmbeddingSpace]:
    """Pairs of items of any distance, and samples in the space."""
    rng = np.random.default_rng(seed)
    space = EmbeddingSpace(nonnegative=bool(rng.integers(2)))
    items = np.abs(rng.standard_normal((2, count, dimension)))
    items /= np.linalg.norm(items, axis=2, keepdims=True)
    near = rng.random(count) < 0.5
    items[1, near] = items[0, near] + 10 ** rng.uniform(-6, -1, (near.sum(), 1)) * items[1, near]
    samples = np.abs(rng.standard_normal((n, dimension)))
    samples /= 1.001 * np.linalg.norm(samples, axis=1, keepdims=True)
    singles = items.astype(np.float32)
    return pairs(singles[0], singles[1], np.arange(count), space), samples.astype(np.float32), space


def exact(margins: Pairs, weights: Array, samples: Array) -> Array:
    """<v, w> - c - loss, in float64."""
    values: Array = weights @ samples.astype(np.float64).T - (margins.offsets + margins.loss)[:, None]
    return values


def mean_position(masses: Array) -> Array:
    found: Array = masses @ np.arange(BINS + 1) / masses.sum(axis=1)
    return found


@briefly
@given(seeds, st.sampled_from([1, 2, 7, 8, 9, 64, 65, 130, 513]), st.floats(0.25, 1.5))
def test_positions_are_those_of_the_margins_and_never_above(seed: int, dimension: int, cap: float) -> None:
    margins, samples, _ = contest(seed, dimension)
    points = Points.of(samples, samples.mean(axis=0))
    positions = Positions(margins, cap)
    rows = np.arange(len(margins))
    knots = BINS / (1 + cap)
    for i in range(len(samples)):
        found = mean_position(positions.masses(rows, points, i, i + 1))
        values = exact(margins, margins.weights.astype(np.float64), samples[i : i + 1])[:, 0]
        expected = np.clip((values / margins.scale + 1) * knots, 0, BINS)
        assert (found <= expected + 1e-9).all()
        off = 2 * (dimension + 10) * 2.0**-24 * margins.norms / margins.scale * knots + 2e-5
        assert (found >= expected - off - 2 / PARTS).all()


def test_a_sum_that_float32_rounds_up_at_every_step_is_covered() -> None:
    """Products that are just above half a unit in the last place of the sum, one after another."""
    dimension = 512
    weights = np.full((1, dimension), 2.0**-12, np.float32)
    weights[0, 0] = 1
    sample = np.full((1, dimension), (1 + 2.0**-6) * 2.0**-13, np.float32)
    sample[0, 0] = 0.9
    ones = np.ones(1)
    norm = float(np.linalg.norm(weights.astype(np.float64)))
    margins = Pairs(weights, 0 * ones, -ones, ones, 0 * ones, norm * ones, 0 * ones)
    positions = Positions(margins, 1.0)
    found = positions.masses(np.arange(1), Points.of(sample, np.zeros(dimension)), 0, 1)
    value = sum(Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weights[0], sample[0], strict=True))
    assert mean_position(found)[0] <= float((value + 1) * BINS / 2)


@briefly
@given(seeds, st.integers(1, 300), st.integers(0, 40))
def test_masses_are_exact_sums_over_any_parts(seed: int, n: int, cut: int) -> None:
    margins, samples, _ = contest(seed, 9, n=n)
    points, rows = Points.of(samples, samples[0]), np.arange(len(margins))
    positions = Positions(margins, 0.8)
    whole = positions.masses(rows, points, 0, n)
    np.testing.assert_array_equal(whole.sum(axis=1), n)
    assert (whole >= 0).all()
    np.testing.assert_array_equal(whole * PARTS, np.round(whole * PARTS))
    middle = min(cut, n)
    parts = positions.masses(rows, points, 0, middle) + positions.masses(rows, points, middle, n)
    np.testing.assert_array_equal(parts, whole)
    one_by_one = sum(positions.masses(rows, points, i, i + 1) for i in range(n))
    np.testing.assert_array_equal(one_by_one, whole)


@briefly
@given(seeds)
def test_whoever_else_is_looked_at_changes_no_bit(seed: int) -> None:
    margins, samples, _ = contest(seed, 65, count=70, n=200)
    points = Points.of(samples, samples[0])
    every = Positions(margins, 0.8).masses(np.arange(70), points, 0, 200)
    rng = np.random.default_rng(seed)
    some = rng.permutation(70)[: rng.integers(1, 70)]
    np.testing.assert_array_equal(Positions(margins, 0.8).masses(some, points, 0, 200), every[some])
    alone = Positions(margins.of(some), 0.8).masses(np.arange(len(some)), points, 0, 200)
    np.testing.assert_array_equal(alone, every[some])


@seeded
@given(seeds, st.integers(1, 100))
def test_sums_of_functions_concave_between_knots_are_never_overstated(seed: int, n: int) -> None:
    """Logarithms of rising piecewise linear functions, as wealth is one."""
    margins, samples, _ = contest(seed, 5, n=n)
    cap = 0.7
    masses = Positions(margins, cap).masses(np.arange(len(margins)), Points.of(samples, samples[0]), 0, n)
    heights = 1e-3 + np.cumsum(np.random.default_rng(seed).exponential(size=BINS + 1) ** 3)
    values = exact(margins, margins.weights.astype(np.float64), samples) / margins.scale[:, None]
    at_values = np.log(np.interp(values, np.linspace(-1, cap, BINS + 1), heights)).sum(axis=1)
    assert (masses @ np.log(heights) <= at_values + 1e-9 * n).all()


def test_positions_beyond_the_knots_count_as_the_ends() -> None:
    ones = np.ones(2)
    weights = np.array([[1.0], [1.0]], np.float32)
    margins = Pairs(weights, 0 * ones, np.array([-0.25, -1.0]), ones, 0 * ones, ones, 0 * ones)
    points = Points.of(np.array([[-1.0], [-0.25], [0.5], [1.0]], np.float32), np.zeros(1))
    masses = Positions(margins, 1.0).masses(np.arange(2), points, 0, 4)
    np.testing.assert_allclose(masses[0, [0, -1]], [2, 2], atol=0.01)
    np.testing.assert_allclose(masses[1, [0, -1]], [1, 1], atol=0.01)


@briefly
@given(seeds, st.floats(0, 1))
def test_reach_is_taken_off_for_the_distance_of_each_sample(seed: int, reach: float) -> None:
    margins, samples, _ = contest(seed, 6, n=40)
    centre = samples.mean(axis=0, dtype=np.float64)
    names = ("weights", "offsets", "lower", "upper", "loss", "norms")
    wide = Pairs(*(getattr(margins, name) for name in names),
                 np.full(len(margins), reach))  # fmt: skip
    points, positions = Points.of(samples, centre), Positions(wide, 1.2)
    distances = np.linalg.norm(samples.astype(np.float64) - centre, axis=1)
    assert (points.spread >= distances).all()
    np.testing.assert_allclose(points.spread, distances, rtol=2e-5)
    for i in range(len(samples)):
        values = exact(margins, margins.weights.astype(np.float64), samples[i : i + 1])[:, 0]
        lowered = np.clip(((values - reach * distances[i]) / margins.scale + 1) * BINS / 2.2, 0, BINS)
        found = mean_position(positions.masses(np.arange(len(margins)), points, i, i + 1))
        assert (found <= lowered + 1e-9).all()


def test_no_samples_and_no_rows_have_no_masses() -> None:
    margins, samples, _ = contest(0, 3)
    points = Points.of(samples, samples[0])
    assert Positions(margins, 1.0).masses(np.zeros(0, np.int64), points, 0, 5).shape == (0, BINS + 1)
    assert not Positions(margins, 1.0).masses(np.arange(3), points, 7, 7).any()


@pytest.mark.parametrize("scale", [1e-6, 1e-3])
def test_a_narrow_margin_is_told_as_finely_as_a_wide_one(scale: float) -> None:
    """Rounding is in proportion to the difference of two items, not to the items."""
    winner = np.array([[0.5, 0.5]], np.float32)
    rival = winner + np.array([[np.float32(scale), 0]], np.float32)
    margins = pairs(winner, rival, np.zeros(1, np.int64), EmbeddingSpace())
    points = Points.of(np.array([[0.3, 0.2]], np.float32), np.zeros(2))
    found = mean_position(Positions(margins, 1.0).masses(np.arange(1), points, 0, 1))[0]
    weight = float(winner[0, 0]) - float(rival[0, 0])
    value = weight * float(np.float32(0.3)) - margins.offsets[0]
    assert found == pytest.approx((value / margins.scale[0] + 1) * BINS / 2, abs=0.01)
