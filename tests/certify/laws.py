"""Laws of a margin, and strategies for them: what the property tests of payoffs and bets share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from certify.betting import SMALLEST, Plan
from certify.cdf import CDF, CdfPayoffs
from certify.histogram import BINS
from certify.mean import MEAN
from certify.payoffs import LARGEST, Bound, Payoffs

Array = NDArray[np.float64]


def linear_binning(values: Array, lower: Array, upper: Array) -> Array:
    """Masses (K, BINS + 1) of the rows of `values` (K, n) at knots over [lower, upper] (K,), in float64."""
    positions = np.clip((values - lower[:, None]) * (BINS / (upper - lower))[:, None], 0, BINS)
    masses = np.zeros((len(values), BINS + 1))
    for row, found in zip(positions, masses, strict=True):
        below = np.minimum(row.astype(np.int64), BINS - 1)
        np.add.at(found, below, 1 - (row - below))
        np.add.at(found, below + 1, row - below)
    return masses


def most_claimed(value: float, lower: float, count: int, alpha: float) -> float:
    """More than this no test of level `alpha` can claim after `count` margins that all equal `value`.

    Let the margin be `value` with probability p, else `lower`, for the p at which the bound is 0 at ρ. All
    are `value` with probability p^count, and then ρ may be claimed only if that is at most alpha.
    """
    return float(ndtri(alpha ** (1 / count)) - ndtri(-lower / (value - lower)))


def growth(payoffs: Payoffs, stakes: Array, masses: Array, rho: float) -> Array:
    """The log of the factor (K,) by which the wealth of testing `rho` grew, or less."""
    ones = np.ones(len(stakes))
    found: Array = (masses * Plan(ones, payoffs, stakes, ones).log_factors(rho)).sum(axis=1)
    return found


@dataclass(frozen=True)
class Law:
    """A distribution of a margin in [lower, upper]: values (m,) in rising order, and how often each comes."""

    lower: float
    upper: float
    values: Array
    counts: NDArray[np.int64]

    @property
    def width(self) -> float:
        return self.upper - self.lower

    def expectation(self, of: Array) -> float:
        """The mean of something that is of[j] where the margin is values[j]."""
        return float(self.counts @ of / self.counts.sum())

    def worst(self, rho: float) -> float:
        """The least mean after a shift of rho that this distribution allows: each {f >= t} a half-space."""
        above = np.cumsum(self.counts[::-1])[::-1] / self.counts.sum()
        steps = np.diff(self.values)
        return float(self.values[0] + steps @ ndtr(ndtri(above[1:]) - rho))

    def worst_of_mean(self, rho: float) -> float:
        """The least mean after a shift of rho that the mean and the range allow: two values, a half-space."""
        share = np.clip((self.expectation(self.values) - self.lower) / self.width, 0, 1)  # but for rounding
        return float(self.lower + self.width * ndtr(ndtri(share) - rho))

    def psi(self, payoffs: Payoffs, rho: float) -> Array:
        """The payoff at each value: gains are linear between knots."""
        knots = np.linspace(self.lower, self.upper, BINS + 1)
        return np.interp(self.values, knots, payoffs.gains[0]) + payoffs.constant(rho)[0]

    @property
    def range(self) -> tuple[Array, Array]:
        return np.array([self.lower]), np.array([self.upper])

    @property
    def masses(self) -> Array:
        each = linear_binning(self.values[:, None], *(np.repeat(end, len(self.values)) for end in self.range))
        masses: Array = self.counts @ each
        return masses[None, :]


Outcomes = list[tuple[float, int]]
# Where in its range a margin may lie, on a knot or between, and how often it does.
spots = st.one_of(st.integers(0, BINS).map(lambda knot: knot / BINS), st.floats(0, 1))
outcomes = st.lists(st.tuples(spots, st.integers(1, 10_000)), min_size=1, max_size=7)
# On knots only, and on the lowest now and then: nothing is lost by binning, and no tail is 1.
on_knots = st.builds(
    lambda lowest, others: [(0.0, lowest), *((knot / BINS, count) for knot, count in others)],
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(1, BINS), st.integers(1, 5000)), min_size=1, max_size=7),
)
lowers, uppers = st.floats(-2, -0.05), st.floats(0.05, 2)
log_slopes = st.floats(-30, 10)
rhos = st.floats(SMALLEST, LARGEST)
bounds = pytest.mark.parametrize(
    ("bound", "worst"), [(CDF, Law.worst), (MEAN, Law.worst_of_mean)], ids=["cdf", "mean"]
)


def law(lower: float, upper: float, outcomes: Outcomes) -> Law:
    shares, counts = np.array(outcomes).T
    order = np.argsort(shares, kind="stable")
    values = np.minimum(lower + shares[order] * (upper - lower), upper)
    return Law(lower, upper, values, counts[order].astype(np.int64))


def radius(worst: Callable[[float], float]) -> float:
    """The smallest rho at which `worst` is not positive any more, from above; infinity if it stays so."""
    if worst(SMALLEST) <= 0:
        return SMALLEST
    if worst(LARGEST) > 0:
        return np.inf
    rho = float(brentq(worst, SMALLEST, LARGEST, xtol=1e-12))
    while worst(rho) > 0:
        rho += 1e-10
    return rho


def chosen(bound: Bound, like: Law, unseen: float, rho: float) -> Payoffs:
    return bound.choose(like.masses, *like.range, np.array([unseen]), np.array([rho]))


# Distributions in a range that holds 0; two of them in one range: what is true, and what is expected.
laws = st.builds(law, lowers, uppers, outcomes)
laws_on_knots = st.builds(law, lowers, uppers, on_knots)
law_pairs = st.builds(
    lambda lower, upper, true, expected: (law(lower, upper, true), law(lower, upper, expected)),
    lowers,
    uppers,
    outcomes,
    outcomes,
)


any_slopes = arrays(np.float64, BINS, elements=log_slopes)


def sloping(reality: Law, log_slopes: Array) -> CdfPayoffs:
    """The payoff with these slopes, by its definition."""
    rises = reality.width / BINS * np.exp(log_slopes)
    return CdfPayoffs(*reality.range, np.append(0.0, np.cumsum(rises))[None], log_slopes[None])


def three(bound: Bound) -> Payoffs:
    """Payoffs for three margins of different ranges, distributions and radii."""
    lower, upper = np.array([-1.0, -0.3, -2.0]), np.array([1.0, 0.5, 0.4])
    masses = np.random.default_rng(0).exponential(size=(3, BINS + 1))
    return bound.choose(masses, lower, upper, np.array([1e-3, 0.01, 0.2]), np.array([0.3, 1.0, 2.0]))
