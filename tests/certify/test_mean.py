"""Neyman-Pearson on the mean of a margin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from certify import EmbeddingSpace
from certify.margins import Margins, pair_margins
from certify.mean import mean_radius
from tests.certify.worlds import seeded


def margin(values: list[float] | NDArray[np.float64], lower: float = -1.0, upper: float = 1.0) -> Margins:
    return Margins(np.array([values], dtype=np.float64), np.array([lower]), np.array([upper]))


def random_margins(seed: int, rows: int, n: int) -> Margins:
    """Rows of different mean and spread, most of them positive on average."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 0.9, (rows, 1)) + rng.uniform(0, 0.5, (rows, 1)) * rng.standard_normal(
        (rows, n)
    )
    return Margins(values.clip(-1, 1.5), np.full(rows, -1.0), np.full(rows, 1.5))


def test_constant_margin_in_closed_form() -> None:
    """V = 0 and ln(2/alpha) = 1: the mean is at least 0.9 - 7 · 3/(3 · 99) in [-1, 2], and q₀ = 1/3."""
    q_low = (0.9 - 7 * 3 / (3 * 99) + 1) / 3
    radius = mean_radius([margin([0.9] * 100, upper=2.0)], 0.5, 2 / np.e)
    assert radius == pytest.approx(0.5 * (ndtri(q_low) - ndtri(1 / 3)), rel=1e-7)


def test_half_space_attains_the_radius() -> None:
    """A margin of 1 on a half-space of probability 0.9 and -1 elsewhere is lost at σΦ⁻¹(0.9) exactly."""
    radius = mean_radius([margin(np.repeat([1.0, -1.0], [900_000, 100_000]))], 0.5, 0.05)
    assert 0.99 * 0.5 * ndtri(0.9) < radius < 0.5 * ndtri(0.9)


def test_the_smallest_of_all_margins_counts_each_at_all_of_alpha() -> None:
    good, bad = margin([0.9] * 100), margin([0.5] * 100)
    alone = mean_radius([bad], 1.0, 0.01)
    assert 0 < alone < mean_radius([good], 1.0, 0.01)
    assert mean_radius([good, bad], 1.0, 0.01) == alone


def test_a_margin_that_cannot_be_negative_needs_no_samples() -> None:
    positive = margin([0.2] * 3, lower=0.1)
    assert mean_radius([positive], 1.0, 0.05) == np.inf
    # A lower end that is positive by less than a margin is rounded may as well be negative.
    assert 0 < mean_radius([margin([0.9] * 100, lower=1e-10)], 1.0, 0.05) < np.inf
    assert mean_radius([positive, margin([0.9] * 3)], 1.0, 0.05) == 0


def test_no_margins_no_limit_and_no_lead_no_radius() -> None:
    assert mean_radius([], 1.0, 0.05) == np.inf
    assert mean_radius([Margins(np.zeros((0, 9)), np.zeros(0), np.zeros(0))], 1.0, 0.05) == np.inf
    assert mean_radius([margin([0.0] * 100)], 1.0, 0.05) == 0
    assert mean_radius([margin([-0.5] * 100)], 1.0, 0.05) == 0
    assert mean_radius([margin([0.9])], 1.0, 0.05) == 0
    assert mean_radius([margin([np.nan] * 100)], 1.0, 0.05) == 0


@seeded
@given(st.integers(0, 2**32), st.floats(1e-6, 0.4), st.floats(1, 2))
def test_monotone_in_alpha_samples_range_and_rivals(seed: int, alpha: float, factor: float) -> None:
    margins = random_margins(seed, 3, 300)
    radius = mean_radius([margins], 0.5, alpha)
    assert radius <= mean_radius([margins], 0.5, alpha * factor)
    # A variance is estimated with n - 1: copies of the samples are not worse than the samples.
    copies = Margins(np.tile(margins.values, 4), margins.lower, margins.upper)
    assert radius <= mean_radius([copies], 0.5, alpha)
    wider = Margins(margins.values, margins.lower - factor, margins.upper + factor)
    assert mean_radius([wider], 0.5, alpha) <= radius
    assert mean_radius([margins, margin(np.ones(300))], 0.5, alpha) <= radius
    assert mean_radius([margins], 0.5 * factor, alpha) == pytest.approx(radius * factor, rel=1e-12)


def test_items_one_unit_in_the_last_place_apart_are_not_infinitely_far() -> None:
    """The midpoint of two non-negative items is a possible embedding, and their margin is 0 there."""
    rng = np.random.default_rng(1)
    space = EmbeddingSpace(nonnegative=True)
    for _ in range(50):
        winner = np.abs(rng.standard_normal(3))
        winner /= 1.2 * np.linalg.norm(winner)
        rival = winner.copy()
        rival[0] = np.nextafter(rival[0], 0)
        samples = np.tile(winner, (50, 1))
        assert mean_radius([pair_margins(samples, winner[None], rival[None], space)], 0.5, 0.05) < np.inf
