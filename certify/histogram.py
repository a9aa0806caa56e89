"""What a bet needs to know of samples: how much of them lies at each of a few knots."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Intervals between knots. Doubling them enlarges radii by 0.1 %.
BINS = 32


def linear_binning(values: Array, lower: Array, upper: Array) -> Array:
    """Masses (K, BINS + 1) of the rows of `values` (K, n) at knots spread evenly over [lower, upper] (K,).

    A value t between the knots a < b puts (b - t)/(b - a) on a and the rest on b. For a function that is
    concave on each interval, such as the logarithm of a piecewise linear one, the sum over the masses is
    then at most the sum over the values: what a bet wins is never overstated. Values outside the range,
    which rounding can produce, count as its ends.
    """
    rows = len(values)
    positions = (values - lower[:, None]) * (BINS / (upper - lower))[:, None]
    np.clip(positions, 0.0, BINS * (1 - 1e-15), out=positions)
    knots = positions.astype(np.int64)
    positions -= knots
    knots += (np.arange(rows) * (BINS + 1))[:, None]
    flat, above = knots.ravel(), positions.ravel()
    size = rows * (BINS + 1)
    masses: Array = np.bincount(flat, minlength=size).astype(np.float64)
    moved = np.bincount(flat, above, minlength=size)
    masses -= moved
    masses[1:] += moved[:-1]
    found: Array = np.maximum(masses, 0.0).reshape(rows, BINS + 1)
    return found


def tails(masses: Array) -> Array:
    """Shares (K, BINS) of the mass at or above the upper end of each interval."""
    above: Array = np.cumsum(masses[:, :0:-1], axis=1)[:, ::-1]
    shares: Array = above / masses.sum(axis=1, keepdims=True)
    return shares
