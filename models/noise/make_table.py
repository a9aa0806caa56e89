"""Makes `normal_table.npy` and proves its error: `python -m models.noise.make_table`; users need neither.

With p = y / 2^64 and w the inverse of the normal distribution at p, so that numbers are -w, a row has the
polynomial through w at the 8 Chebyshev nodes of its sixteenth of an octave. The proof is in
docs/certificate.md (Noise).
"""

import hashlib
import math
from functools import cache

import mpmath
import numpy as np
from numpy.typing import NDArray

from models.noise.normal import DEGREE, ERROR, LARGEST, ROWS, SMALLEST, TABLE

NODES = DEGREE + 1
# Of interpolation at 8 Chebyshev nodes: 2 / π ln 8 + 1, rounded up (Rivlin 1974).
LEBESGUE = 2.4
# Half a unit in the last place of float64, relative.
UNIT = 2.0**-53


def bounds(row: int) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Between which tails p the row is used."""
    octave, part = divmod(row, ROWS)
    low = mpmath.mpf(2) ** (octave + SMALLEST - 64)
    return low * (1 + mpmath.mpf(part) / ROWS), low * (1 + mpmath.mpf(part + 1) / ROWS)


def quantile(p: mpmath.mpf, guess: mpmath.mpf) -> mpmath.mpf:
    """The w at which the normal distribution is `p`, by Newton's method in the logarithm."""
    w = guess
    for _ in range(100):
        tail = mpmath.ncdf(w)
        change = mpmath.log(tail / p) * tail / mpmath.npdf(w)
        w -= change
        if abs(change) < mpmath.mpf(10) ** -30:
            return w
    raise ArithmeticError(f"no quantile at {p}")


def make() -> NDArray[np.float64]:
    """The coefficients (rows, 8), from the middle outwards; in the last row p is 1/2, and w is 0."""
    rows = (LARGEST - SMALLEST) * ROWS
    found = np.zeros((rows + 1, NODES))
    nodes = [mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * NODES)) for i in range(NODES)]
    inverse = mpmath.matrix([[node**power for power in range(NODES)] for node in nodes]) ** -1
    w = mpmath.mpf(0)
    for row in reversed(range(rows)):
        low, high = bounds(row)
        values = []
        for node in nodes:  # from the largest p to the smallest
            w = quantile(low + (high - low) * (1 + node) / 2, w)
            values.append(w)
        found[row] = [float(c) for c in inverse * mpmath.matrix(values)]
    return found


@cache
def _derivative(order: int) -> tuple[int, ...]:
    """The coefficients of P with w^(order) = P(w) / φ(w)^order: P' + (order - 1) w P of the one before."""
    if order == 1:
        return (1,)
    before = _derivative(order - 1)
    found = [0] * (len(before) + 1)
    for power, c in enumerate(before):
        found[power + 1] += (order - 1) * c
        if power:
            found[power - 1] += power * c
    return tuple(found)


def error_bound(row: int, coefficients: NDArray[np.float64]) -> tuple[float, float]:
    """How far a number of this row is from exact at most, and the smallest that it can be (docs, Noise)."""
    low, high = bounds(row)
    nodes = [mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * NODES)) for i in range(NODES)]
    exact = [mpmath.mpf(float(c)) for c in coefficients]

    def off(t: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
        """The polynomial at t, and how far it is from w: by the mean value theorem, φ at the farther end."""
        value = mpmath.polyval(exact[::-1], t)
        p = low + (high - low) * (1 + t) / 2
        missed = abs(mpmath.ncdf(value) - p)
        far = abs(value) + mpmath.mpf(10) ** -6
        if not missed / mpmath.npdf(far) < mpmath.mpf(10) ** -6:
            raise ArithmeticError(f"row {row} is no approximation")
        return value, missed / mpmath.npdf(far)

    at_nodes = max(off(node)[1] for node in nodes)
    smallest, off_there = off(mpmath.mpf(1))
    largest, off_far = off(mpmath.mpf(-1))
    least, most = abs(smallest) - off_there, abs(largest) + off_far
    derivative = mpmath.polyval(_derivative(NODES)[::-1], most) / mpmath.npdf(most) ** NODES
    interpolation = derivative * ((high - low) / 2) ** NODES / math.factorial(NODES) / 2**DEGREE
    horner = UNIT * sum((2 * power + 1) * abs(c) for power, c in enumerate(exact)) * (1 + 100 * UNIT)
    # y is rounded twice: p is off by so much of itself, and w by that over φ.
    given = 2.001 * UNIT * high / mpmath.npdf(most)
    scaled = UNIT * (most + 1e-6)
    total = interpolation + LEBESGUE * at_nodes + horner + given + scaled
    return float(total) * (1 + 1e-9), max(float(least), 0.0)


def main() -> None:
    """Make the table and check every row."""
    with mpmath.workdps(45):
        np.save(TABLE, make().astype("<f8"))
        print("sha256", hashlib.sha256(TABLE.read_bytes()).hexdigest())
        worst = 0.0
        for row, coefficients in enumerate(np.load(TABLE)[:-1]):
            error, least = error_bound(row, coefficients)
            worst = max(worst, error / max(least, 1.0))
        print(f"largest error over max(|z|, 1): {worst:.3g}, allowed {ERROR:g}")


if __name__ == "__main__":
    main()
