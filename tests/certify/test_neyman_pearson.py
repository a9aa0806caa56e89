"""The Neyman-Pearson curve: nothing loses more probability than a half-space; its tangents stay below it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import ndtr
from scipy.stats import norm

from certify.neyman_pearson import EDGE, intercept, log_slope, quantile, shifted
from tests.certify.worlds import seeded

rhos = st.floats(1e-4, 12)
slopes = st.floats(-20, 8)


def test_quantile_inverts_the_normal_distribution_and_is_finite_at_the_ends() -> None:
    points = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(quantile(ndtr(points)), points, rtol=1e-7, atol=1e-12)
    below, lowest, highest, above = quantile(np.array([-0.1, 0.0, 1.0, 1.1]))
    assert below == lowest == pytest.approx(norm.ppf(EDGE), rel=1e-9)
    assert above == highest == pytest.approx(norm.isf(EDGE), rel=1e-4)  # 1 - EDGE has 12 digits less


@pytest.mark.parametrize("rho", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("point", [-2.0, 0.0, 1.5])
def test_shifted_is_the_probability_of_the_half_space_under_shifted_noise(point: float, rho: float) -> None:
    probability, _ = quad(lambda t: norm.pdf(t, loc=rho), -12, point, epsabs=1e-13)
    assert shifted(np.array([point]), rho)[0] == pytest.approx(probability, abs=1e-11)


@seeded
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=8), st.booleans(), st.floats(-5, 5))
def test_no_event_of_the_same_probability_loses_more(edges: list[float], first: bool, rho: float) -> None:
    """The event is every other interval between the edges; a shift to either side counts."""
    ends = np.concatenate([[-np.inf], np.sort(edges), [np.inf]])
    chosen = (np.arange(len(ends) - 1) % 2 == 0) == first
    before, after = (np.diff(ndtr(ends - shift))[chosen].sum() for shift in (0.0, rho))
    assert after >= shifted(quantile(before), abs(rho)) - 1e-11


@seeded
@given(st.floats(-4, 4), st.floats(1e-4, 5))
def test_log_slope_is_the_slope_of_the_curve(point: float, rho: float) -> None:
    step = 1e-4
    rise = ndtr(point + step - rho) - ndtr(point - step - rho)
    run = ndtr(point + step) - ndtr(point - step)
    assert np.exp(log_slope(np.array([point]), rho)[0]) == pytest.approx(rise / run, rel=1e-5, abs=1e-9)


def lowest(log_slope: float, rho: float) -> float:
    """min over p of T_rho(p) - s p, with p = Φ(z): the best of a grid of z, and what is better beside it."""

    def height(z: float) -> float:
        return float(norm.cdf(z - rho) - np.exp(log_slope) * norm.cdf(z))

    grid = np.linspace(-9, 9 + rho, 401)
    best = grid[np.argmin([norm.cdf(grid - rho) - np.exp(log_slope) * norm.cdf(grid)])]
    step = grid[1] - grid[0]
    found = minimize_scalar(height, bounds=(best - step, best + step), method="bounded")
    return min(height(best), float(found.fun))


@seeded
@given(slopes, rhos)
def test_intercept_is_the_least_height_above_the_line_through_the_origin(
    log_slope: float, rho: float
) -> None:
    expected = lowest(log_slope, rho)
    found = intercept(np.array([log_slope]), rho)[0]
    assert found == pytest.approx(expected, abs=1e-9 * (1 + np.exp(log_slope)))


@seeded
@given(slopes, rhos)
def test_tangents_lie_below_the_curve(log_slope: float, rho: float) -> None:
    z = np.linspace(-9, 9 + rho, 2001)
    tangent = intercept(np.array([log_slope]), rho) + np.exp(log_slope) * ndtr(z)
    assert (tangent <= shifted(z, rho) + 1e-14 * (1 + np.exp(log_slope))).all()


@seeded
@given(st.floats(-4, 4), rhos)
def test_tangents_touch_the_curve_where_it_has_their_slope(point: float, rho: float) -> None:
    z = np.array([point])
    slope = log_slope(z, rho)
    touching = intercept(slope, rho) + np.exp(slope) * ndtr(z)
    np.testing.assert_allclose(touching, shifted(z, rho), rtol=0, atol=1e-12 * (1 + np.exp(slope[0])))


@seeded
@given(slopes, rhos, rhos)
def test_intercept_is_never_positive_and_falls_when_rho_grows(
    log_slope: float, one: float, other: float
) -> None:
    near, far = (intercept(np.array([log_slope]), rho)[0] for rho in sorted((one, other)))
    rounding = 1e-14 * (1 + np.exp(log_slope))
    assert far <= near + rounding
    assert near <= rounding


def test_intercept_falls_from_end_to_end() -> None:
    """From T_0(p) = p, which has intercept min(0, 1 - s), to T_∞ = 0 below p = 1, which has -s."""
    for slope in (0.3, 1.0, 4.0):
        ends = intercept(np.log(np.full(2, slope)), np.array([1e-4, 40.0]))
        np.testing.assert_allclose(ends, [min(0, 1 - slope), -slope], atol=1e-4)


def test_one_rho_for_all_or_one_each() -> None:
    log_slopes = np.array([[-1.0, 0.0, 2.0], [0.5, -3.0, 1.0]])
    each = intercept(log_slopes, np.array([[0.3], [2.0]]))
    for row, rho in enumerate((0.3, 2.0)):
        np.testing.assert_array_equal(each[row], intercept(log_slopes[row], rho))
        np.testing.assert_array_equal(
            log_slope(log_slopes, np.array([[0.3], [2.0]]))[row], log_slope(log_slopes[row], rho)
        )
