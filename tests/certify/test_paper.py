"""Half the gap: nothing within reach of the mean is nearer to a rival."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from certify import Listing
from certify.bisector import bisector_radius
from certify.paper import lipschitz, paper_radius
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
NONE = np.zeros((0, 2))


def contest(seed: int, winners: int, rivals: int, dimension: int, outside: float) -> tuple[Array, Listing]:
    """A mean near the first winner, rivals anywhere, and a centre that is not quite the mean."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((winners + rivals, dimension))
    mean = items[0] + 0.3 * rng.standard_normal(dimension)
    centre = mean + 0.05 * rng.standard_normal(dimension)
    return mean, Listing(items[:winners], items[winners:], centre, outside)


contests = st.builds(
    contest,
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(0, 6),
    st.integers(1, 5),
    st.one_of(st.just(np.inf), st.floats(0.5, 4)),
)


def lead(points: Array, listing: Listing) -> Array:
    """How much nearer a winner is than any rival could be, unlisted ones included, at `points` (p, d)."""
    to_winners = np.linalg.norm(points[:, None] - listing.winners, axis=2).min(axis=1)
    to_rivals = np.linalg.norm(points[:, None] - listing.rivals, axis=2).min(axis=1, initial=np.inf)
    unlisted = np.maximum(listing.outside - np.linalg.norm(points - listing.centre, axis=1), 0)
    return np.minimum(to_rivals, unlisted) - to_winners


def reachable(mean: Array, listing: Listing, reach: float) -> Array:
    """Points at distance `reach` from the mean: towards each rival, across each bisector, and anywhere."""
    across = (listing.rivals[:, None] - listing.winners).reshape(-1, len(mean))
    anywhere = np.random.default_rng(0).standard_normal((200, len(mean)))
    directions = np.concatenate([listing.rivals - mean, across, mean - listing.centre[None], anywhere])
    return mean + reach * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
@seeded
@given(contest=contests, epsilon=st.floats(0, 0.3), slope=st.floats(0.1, 5))
def test_no_rival_is_nearest_within_reach(
    rule: type, contest: tuple[Array, Listing], epsilon: float, slope: float
) -> None:
    """The true g is within ε of the mean, and a perturbation of norm R moves it by at most L R."""
    mean, listing = contest
    radius = rule(mean, listing, epsilon=epsilon, lipschitz=slope)
    if 0 < radius < np.inf:
        points = reachable(mean, listing, epsilon + slope * radius)
        assert (lead(points, listing) >= -1e-9).all()


@seeded
@given(contests, st.floats(0, 0.3), st.floats(0.1, 5))
def test_bisector_is_never_below_paper(contest: tuple[Array, Listing], epsilon: float, slope: float) -> None:
    mean, listing = contest
    half_gap = paper_radius(mean, listing, epsilon=epsilon, lipschitz=slope)
    assert bisector_radius(mean, listing, epsilon=epsilon, lipschitz=slope) >= half_gap - 1e-10


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
def test_on_the_line_between_two_items_the_radius_is_attained(rule: type) -> None:
    """g = 0.4 between 1 and -0.6: the midpoint 0.2 is 0.2 away, ε = 0.05 of it is spent, L = 2."""
    mean = np.array([0.4, 0.0])
    listing = Listing(np.array([[1.0, 0.0]]), np.array([[-0.6, 0.0]]), mean, np.inf)
    assert rule(mean, listing, epsilon=0.05, lipschitz=2.0) == pytest.approx(0.15 / 2, abs=1e-11)
    # Unlisted, at the same distance of 1: the rival's direction is not known, but this was the worst one.
    unlisted = Listing(listing.winners, NONE, mean, 1.0)
    assert rule(mean, unlisted, epsilon=0.05, lipschitz=2.0) == pytest.approx(0.15 / 2, abs=1e-11)


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
@seeded
@given(contest=contests, outside=st.floats(0.5, 4))
def test_leaving_rivals_out_never_enlarges_the_radius(
    rule: type, contest: tuple[Array, Listing], outside: float
) -> None:
    mean, listing = contest
    distances = np.linalg.norm(listing.rivals - listing.centre, axis=1)
    near = Listing(listing.winners, listing.rivals[distances < outside], listing.centre, outside)
    everything = Listing(listing.winners, listing.rivals, listing.centre, np.inf)
    radii = [rule(mean, one, epsilon=0.01, lipschitz=1.0) for one in (near, everything)]
    assert radii[0] <= radii[1] + 1e-10


def test_nothing_to_lose_is_infinite_and_nothing_won_is_zero() -> None:
    item, far = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    for rule in (paper_radius, bisector_radius):
        assert rule(item[0], Listing(item, NONE, item[0], np.inf), epsilon=1.0, lipschitz=1.0) == np.inf
        assert rule(item[0], Listing(far, item, item[0], np.inf), epsilon=0.0, lipschitz=1.0) == 0
        assert rule(item[0], Listing(item, far, item[0], np.inf), epsilon=1.01, lipschitz=1.0) == 0


def test_lipschitz_is_the_steepest_slope_of_a_half_space() -> None:
    """h = ±F about a half-space has g = F (2Φ(m/σ) - 1): nothing with ||h|| <= F is steeper than it at 0."""
    sigma, norm_bound, step = 0.5, 1.5, 1e-4
    shifts = np.arange(-2.0, 2.0, step)
    slopes = np.diff(norm_bound * (2 * ndtr(shifts / sigma) - 1)) / step
    assert slopes.max() == pytest.approx(lipschitz(sigma, norm_bound), rel=1e-7)
