"""Binning keeps mass and mean, and overstates no concave function between knots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify.histogram import BINS, linear_binning, tails
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
seeds = st.integers(0, 2**32)


def margins(seed: int, rows: int, n: int, beyond: float = 0.0) -> tuple[Array, Array, Array]:
    """Values (rows, n), a share `beyond` of the width outside their range, and their range."""
    rng = np.random.default_rng(seed)
    lower = rng.uniform(-3, 1, rows)
    upper = lower + 10 ** rng.uniform(-3, 1, rows)
    shares = rng.uniform(-beyond, 1 + beyond, (rows, n))
    shares[:, rng.random(n) < 0.1] = 0.0
    shares[:, rng.random(n) < 0.1] = 1.0
    shares = np.where(rng.random((rows, n)) < 0.2, np.round(shares * BINS) / BINS, shares)
    return lower[:, None] + shares * (upper - lower)[:, None], lower, upper


def knots(lower: float, upper: float) -> Array:
    return np.linspace(lower, upper, BINS + 1)


@seeded
@given(seeds, st.integers(1, 4), st.integers(1, 200))
def test_mass_and_mean_are_kept(seed: int, rows: int, n: int) -> None:
    values, lower, upper = margins(seed, rows, n)
    masses = linear_binning(values, lower, upper)
    assert masses.shape == (rows, BINS + 1)
    assert (masses >= 0).all()
    np.testing.assert_allclose(masses.sum(axis=1), n, rtol=1e-12)
    for k in range(rows):
        mean = masses[k] @ knots(lower[k], upper[k]) / n
        assert mean == pytest.approx(values[k].mean(), abs=1e-12 * (1 + abs(lower[k]) + abs(upper[k])))


@seeded
@given(seeds, st.integers(1, 100))
def test_sums_of_functions_linear_between_knots_are_kept(seed: int, n: int) -> None:
    """As any heights at the knots will do, this says where each part of each value goes."""
    values, lower, upper = margins(seed, 2, n)
    masses = linear_binning(values, lower, upper)
    heights = np.random.default_rng(seed).standard_normal(BINS + 1)
    for k in range(2):
        expected = np.interp(values[k], knots(lower[k], upper[k]), heights).sum()
        assert masses[k] @ heights == pytest.approx(expected, abs=1e-9 * n)


@seeded
@given(seeds, st.integers(1, 100), st.floats(0, 0.2))
def test_sums_of_functions_concave_between_knots_are_never_overstated(
    seed: int, n: int, beyond: float
) -> None:
    """Logarithms of rising piecewise linear functions, as wealth is one; also outside the range."""
    values, lower, upper = margins(seed, 2, n, beyond)
    masses = linear_binning(values, lower, upper)
    heights = 1e-3 + np.cumsum(np.random.default_rng(seed).exponential(size=BINS + 1) ** 3)
    for k in range(2):
        at_values = np.log(np.interp(values[k], knots(lower[k], upper[k]), heights))
        assert masses[k] @ np.log(heights) <= at_values.sum() + 1e-9 * n


@seeded
@given(seeds)
def test_values_outside_the_range_count_as_its_ends(seed: int) -> None:
    values, lower, upper = margins(seed, 3, 50, beyond=2.0)
    before = values.copy()
    clipped = np.clip(values, lower[:, None], upper[:, None])
    np.testing.assert_allclose(
        linear_binning(values, lower, upper), linear_binning(clipped, lower, upper), atol=1e-11
    )
    np.testing.assert_array_equal(values, before)
    ends = linear_binning(np.array([[-7.0, -1.0, 1.0, 2.0, 1e9]]), np.array([-1.0]), np.array([1.0]))[0]
    np.testing.assert_allclose(ends[[0, -1]], [2, 3], rtol=1e-12)


def test_a_value_on_a_knot_stays_there_and_one_between_is_split() -> None:
    lower, upper = np.array([-1.0]), np.array([3.0])
    for knot, value in enumerate(knots(-1.0, 3.0)):
        expected = np.zeros((1, BINS + 1))
        expected[0, knot] = 1
        np.testing.assert_allclose(linear_binning(np.array([[value]]), lower, upper), expected, atol=1e-12)
    between = linear_binning(np.array([[-1 + 4 * 5.25 / BINS]]), lower, upper)[0]
    np.testing.assert_allclose(between[[5, 6]], [0.75, 0.25])


def test_no_rows_and_no_values() -> None:
    assert linear_binning(np.zeros((0, 5)), np.zeros(0), np.ones(0)).shape == (0, BINS + 1)
    np.testing.assert_array_equal(
        linear_binning(np.zeros((2, 0)), np.zeros(2), np.ones(2)), np.zeros((2, BINS + 1))
    )


@seeded
@given(seeds, st.floats(0.1, 1e6))
def test_tails_are_the_shares_above_each_interval(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    masses = scale * rng.exponential(size=(3, BINS + 1)) * (rng.random((3, BINS + 1)) < 0.4)
    masses[:, 3] = scale
    above = tails(masses)
    assert above.shape == (3, BINS)
    for row, shares in zip(masses, above, strict=True):
        expected = [row[interval + 1 :].sum() / row.sum() for interval in range(BINS)]
        np.testing.assert_allclose(shares, expected, rtol=1e-12, atol=1e-15)
