"""What a bet needs to know of samples: how much of them lies at each of a few knots."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Intervals between knots. With 32 radii are 0.1 to 0.8 % smaller.
BINS = 48


def tails(masses: Array) -> Array:
    """Shares (K, BINS) of the mass at or above the upper end of each interval."""
    above: Array = np.cumsum(masses[:, :0:-1], axis=1)[:, ::-1]
    shares: Array = above / masses.sum(axis=1, keepdims=True)
    return shares
