"""Half the gap: nothing within reach of the mean is nearer to a rival."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from certify import Rivals
from certify.bisector import bisector_radius
from certify.paper import lipschitz, paper_radius
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
NONE = np.zeros((0, 2))


def contest(seed: int, winners: int, others: int, dimension: int) -> tuple[Array, Rivals]:
    """A mean near the first winner, and rivals anywhere."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((winners + others, dimension)).astype(np.float32)
    mean = items[0] + 0.3 * rng.standard_normal(dimension)
    return mean, Rivals.of(items[:winners], items[winners:], mean)


contests = st.builds(contest, st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 6), st.integers(1, 5))


def lead(points: Array, rivals: Rivals) -> Array:
    """How much nearer a winner is than any rival, at `points` (p, d)."""
    to_winners = np.linalg.norm(points[:, None] - rivals.winners, axis=2).min(axis=1)
    to_rivals = np.linalg.norm(points[:, None] - rivals.vectors.rows, axis=2).min(axis=1, initial=np.inf)
    found: Array = to_rivals - to_winners
    return found


def reachable(mean: Array, rivals: Rivals, reach: float) -> Array:
    """Points at distance `reach` from the mean: towards each rival, across each bisector, and anywhere."""
    across = (rivals.vectors.rows[:, None] - rivals.winners).reshape(-1, len(mean))
    anywhere = np.random.default_rng(0).standard_normal((200, len(mean)))
    directions = np.concatenate([rivals.vectors.rows - mean, across, anywhere])
    return mean + reach * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
@seeded
@given(contest=contests, epsilon=st.floats(0, 0.3), slope=st.floats(0.1, 5))
def test_no_rival_is_nearest_within_reach(
    rule: type, contest: tuple[Array, Rivals], epsilon: float, slope: float
) -> None:
    """The true g is within ε of the mean, and a perturbation of norm R moves it by at most L R."""
    mean, rivals = contest
    radius = rule(mean, rivals, epsilon=epsilon, lipschitz=slope)
    if 0 < radius < np.inf:
        points = reachable(mean, rivals, epsilon + slope * radius)
        assert (lead(points, rivals) >= -1e-9).all()


@seeded
@given(contests, st.floats(0, 0.3), st.floats(0.1, 5))
def test_bisector_is_never_below_paper(contest: tuple[Array, Rivals], epsilon: float, slope: float) -> None:
    mean, rivals = contest
    half_gap = paper_radius(mean, rivals, epsilon=epsilon, lipschitz=slope)
    assert bisector_radius(mean, rivals, epsilon=epsilon, lipschitz=slope) >= half_gap - 1e-10


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
def test_on_the_line_between_two_items_the_radius_is_attained(rule: type) -> None:
    """g = 0.4 between 1 and -0.625: the midpoint 0.1875 is 0.2125 away, ε = 0.05 of it is spent, L = 2."""
    mean = np.array([0.4, 0.0])
    rivals = Rivals.of(np.array([[1.0, 0.0]]), np.array([[-0.625, 0.0]]), mean)
    assert rule(mean, rivals, epsilon=0.05, lipschitz=2.0) == pytest.approx(0.1625 / 2, abs=1e-11)


@pytest.mark.parametrize("rule", [paper_radius, bisector_radius])
@pytest.mark.parametrize("batch", [1, 2, 1000])
@seeded
@given(contest=contests)
def test_one_more_rival_never_enlarges_and_the_order_does_not_matter(
    rule: type, batch: int, contest: tuple[Array, Rivals]
) -> None:
    """However many are looked at before asking whether any other can matter."""
    mean, rivals = contest
    others = rivals.vectors.rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("certify.bisector.BATCH", batch)
        patch.setattr("certify.rivals.BATCH", batch)
        radii = [
            rule(mean, Rivals.of(rivals.winners, some, mean), epsilon=0.01, lipschitz=1.0)
            for some in (others[:-1], others, others[::-1])
        ]
    assert radii[2] == radii[1] <= radii[0]


def test_nothing_to_lose_is_infinite_and_nothing_won_is_zero() -> None:
    item, far = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    for rule in (paper_radius, bisector_radius):
        assert rule(item[0], Rivals.of(item, NONE, item[0]), epsilon=1.0, lipschitz=1.0) == np.inf
        assert rule(item[0], Rivals.of(far, item, item[0]), epsilon=0.0, lipschitz=1.0) == 0
        assert rule(item[0], Rivals.of(item, far, item[0]), epsilon=1.01, lipschitz=1.0) == 0


def test_lipschitz_is_the_steepest_slope_of_a_half_space() -> None:
    """h = ±F about a half-space has g = F (2Φ(m/σ) - 1): nothing with ||h|| <= F is steeper than it at 0."""
    sigma, norm_bound, step = 0.5, 1.5, 1e-4
    shifts = np.arange(-2.0, 2.0, step)
    slopes = np.diff(norm_bound * (2 * ndtr(shifts / sigma) - 1)) / step
    assert slopes.max() == pytest.approx(lipschitz(sigma, norm_bound), rel=1e-7)
