"""Binning keeps mass and mean, and overstates no concave function between knots."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify.histogram import BINS, tails
from tests.certify.worlds import seeded

Array = NDArray[np.float64]
seeds = st.integers(0, 2**32)


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
