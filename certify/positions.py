"""Margins on one scale, and what samples weigh at its knots."""

import numpy as np
from numpy.typing import NDArray

from certify.histogram import BINS
from certify.kernels import bin_margins
from certify.pairs import Pairs
from certify.points import UP, Points
from certify.space import UNIT

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Roundings on the way to a position besides the d of a product: of vectors and samples to float32, of their
# difference and of its multiple, each of which moves a product by at most UNIT of F ||w||; and those of
# shift, sum and reach, which move a position by UNIT of what it is.
MORE, OTHERS = 6, 4


class Positions:
    """Where margins stand among BINS + 1 knots spread evenly over [-1, `cap`] times their `scale`.

    A margin above `cap` times its scale counts as that, which is less; and none counts as more than it is,
    whatever float32 rounds on the way (docs/certificate.md, Numbers).
    """

    def __init__(self, pairs: Pairs, cap: float) -> None:
        self.pairs, self.cap = pairs, cap
        knots = BINS / (1 + cap)
        scales = knots / pairs.scale
        terms = (pairs.weights.shape[1] + MORE) * UNIT
        shifts = knots - (pairs.offsets + pairs.loss) * scales
        shifts -= terms / (1 - terms) * pairs.norms * scales + OTHERS * UNIT * (BINS + np.abs(shifts))
        self._weights = (pairs.weights * scales[:, None]).astype(np.float32)
        self._shifts = shifts.astype(np.float32)
        self._reaches = (pairs.reach * scales * UP).astype(np.float32)

    def masses(self, rows: Rows, points: Points, first: int, last: int) -> Array:
        """Masses (len(rows), BINS + 1) of the margins `rows` at samples `first` to `last`.

        For a function that is concave on each interval between knots, such as the logarithm of a piecewise
        linear one, the sum over the masses is at most the sum over the positions: what a bet wins is never
        overstated.
        """
        found = np.zeros((len(rows), BINS + 1))
        bin_margins(
            self._weights[rows], self._shifts[rows], self._reaches[rows],
            points.columns, points.spread, first, last, found,
        )  # fmt: skip
        return found
