"""Neyman-Pearson at every level of a margin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from certify import EmbeddingSpace
from certify.cdf import cdf_radius, largest_positive, ranks
from certify.intervals import clopper_pearson_lower
from certify.margins import Margins
from tests.certify.test_mean import margin, random_margins
from tests.certify.worlds import World, arc, seeded


@seeded
@given(st.integers(1, 200_000))
def test_ranks_are_order_statistics_from_the_first_up(n: int) -> None:
    levels = ranks(n)
    assert levels[0] == 1
    assert (np.diff(levels) > 0).all()
    assert levels[-1] <= n
    assert len(levels) <= 48


def test_equal_samples_in_closed_form() -> None:
    """f = 0.6 always, in [-0.4, ...]: -0.4 + Φ(Φ⁻¹(p) - R/σ) = 0 with p = (alpha/J)^(1/n)."""
    n, alpha = 200, 0.05
    p = (alpha / len(ranks(n))) ** (1 / n)
    radius = cdf_radius([margin([0.6] * n, lower=-0.4)], 0.5, alpha)
    assert radius == pytest.approx(0.5 * (ndtri(p) - ndtri(0.4)), rel=1e-6)
    assert radius < 0.5 * (ndtri(p) - ndtri(0.4))


@pytest.mark.parametrize("low", [0, 1, 5, 19, 40])
def test_two_values_in_closed_form(low: int) -> None:
    """`low` samples at the lower end -0.5, the others at 0.5: R = σΦ⁻¹(p), p that of the first rank above."""
    n, alpha = 200, 0.05
    first = ranks(n)[ranks(n) > low][0]
    p = clopper_pearson_lower(np.array([n - first + 1]), n, alpha / len(ranks(n)))[0]
    values = np.random.default_rng(0).permutation(np.repeat([-0.5, 0.5], [low, n - low]))
    radius = cdf_radius([margin(values, -0.5, 0.5)], 0.5, alpha)
    assert radius == pytest.approx(0.5 * ndtri(p), rel=1e-6)


def test_half_space_attains_the_radius() -> None:
    """A margin of 1 on a half-space and -1 on the rest is lost at σΦ⁻¹ of its probability exactly."""
    n = 1_000_000
    low = int(ranks(n)[ranks(n) > 0.02 * n][0]) - 1  # so that a rank sits where the value changes
    radius = cdf_radius([margin(np.repeat([-1.0, 1.0], [low, n - low]))], 0.5, 0.05)
    assert 0.995 * 0.5 * ndtri(1 - low / n) < radius < 0.5 * ndtri(1 - low / n)


def test_monotone_margin_attains_the_radius_but_for_the_gaps_between_ranks() -> None:
    """Every level set of this margin is a half-space, the worst case of each of the bounds."""
    angles = np.array([0.5, -0.9])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    world = World(*arc(1.2, 1.5, 0.5), 0.3, 0.5, gallery, np.array([0, 1]), EmbeddingSpace())
    radius = world.certify(world.draw(np.random.default_rng(0), 200_000), "item", "cdf", 0.05).radius
    assert 0.85 * world.true_radius("item", 0) < radius < world.true_radius("item", 0)


def test_the_lower_end_of_the_range_is_what_the_unseen_may_be() -> None:
    radii = [cdf_radius([margin([0.6] * 200, lower=lower)], 0.5, 0.05) for lower in (-2.0, -1.0, -0.1)]
    assert 0 < radii[0] < radii[1] < radii[2]


def test_the_smallest_of_all_margins_counts_each_at_all_of_alpha() -> None:
    good, bad = margin([0.9] * 100), margin([0.5] * 100)
    alone = cdf_radius([bad], 1.0, 0.01)
    assert 0 < alone < cdf_radius([good], 1.0, 0.01)
    assert cdf_radius([good, bad], 1.0, 0.01) == alone


def test_no_margins_no_limit_and_no_lead_no_radius() -> None:
    assert cdf_radius([], 1.0, 0.05) == np.inf
    assert cdf_radius([Margins(np.zeros((0, 9)), np.zeros(0), np.zeros(0))], 1.0, 0.05) == np.inf
    assert cdf_radius([margin([0.0] * 100)], 1.0, 0.05) == 0
    assert cdf_radius([margin([-0.5] * 100)], 1.0, 0.05) == 0
    assert cdf_radius([margin([0.9])], 1.0, 0.05) == 0
    assert cdf_radius([margin([np.nan] * 100)], 1.0, 0.05) == 0


def test_a_margin_that_cannot_be_negative_reaches_the_end_of_the_search() -> None:
    assert cdf_radius([margin([0.2] * 3, lower=0.1)], 0.5, 0.05) == pytest.approx(8.0, abs=1e-9)


@seeded
@given(st.integers(0, 2**32), st.floats(1e-6, 0.4), st.floats(1, 2))
def test_monotone_in_alpha_range_and_rivals(seed: int, alpha: float, factor: float) -> None:
    margins = random_margins(seed, 3, 300)
    radius = cdf_radius([margins], 0.5, alpha)
    assert radius <= cdf_radius([margins], 0.5, alpha * factor)
    lower = Margins(margins.values, margins.lower - factor, margins.upper)
    assert cdf_radius([lower], 0.5, alpha) <= radius
    assert cdf_radius([margins, margin(np.ones(300))], 0.5, alpha) <= radius + 1e-12  # BLAS may sum otherwise
    assert cdf_radius([margins], 0.5 * factor, alpha) == pytest.approx(radius * factor, rel=1e-12)
    shuffled = np.random.default_rng(seed).permuted(margins.values, axis=1)
    assert cdf_radius([Margins(shuffled, margins.lower, margins.upper)], 0.5, alpha) == radius


@pytest.mark.parametrize("seed", range(20))
def test_ten_times_the_samples_enlarge_the_radius(seed: int) -> None:
    margins = random_margins(seed, 2, 300)
    copies = Margins(np.tile(margins.values, 10), margins.lower, margins.upper)
    radii = cdf_radius([margins], 0.5, 0.01), cdf_radius([copies], 0.5, 0.01)
    assert radii[0] < radii[1] or radii == (0, 0)


@seeded
@given(st.floats(0.001, 9.9))
def test_largest_positive_stays_below_the_root(root: float) -> None:
    found = largest_positive(lambda x: float(ndtr(root - x)) - 0.5, 10.0)
    assert root - 1e-7 < found < root


def test_largest_positive_at_the_ends() -> None:
    assert largest_positive(lambda _: -1.0, 10.0) == 0
    assert largest_positive(lambda _: float("nan"), 10.0) == 0
    assert largest_positive(lambda x: 0.0 if x > 1 else float("nan") if x else 1.0, 10.0) < 1e-9
    assert largest_positive(lambda _: 1.0, 10.0) == pytest.approx(10)
