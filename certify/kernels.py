"""The loops over rivals and samples, compiled.

numba compiles them at their first call and keeps them on disk where that may be written. numpy would need
arrays of every intermediate result, and its products differ in their last bits with what else is multiplied:
here a row's numbers depend on that row alone, as bets need that must not know who else is looked at.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Masses are counted in units of 1 / PARTS of a sample; count and parts share a 64-bit number.
PARTS_BITS, COUNT_BITS = 16, 40
PARTS = 1 << PARTS_BITS
# Samples at a time: what is read again and again stays in the nearest cache.
TILE = 128


def compiled(function: Callable[..., Any]) -> Any:
    """`function`, compiled when it is first called; a * b + c may be rounded once or twice."""
    try:
        return numba.njit(nogil=True, fastmath={"contract"}, cache=True)(function)
    except RuntimeError:  # there is no folder that may be written: compile once in every process
        return numba.njit(nogil=True, fastmath={"contract"})(function)


@compiled
def multiply(row: Any, columns: Any, found: Any) -> None:
    """Put the products of `row` (d,) and `columns` (d, n) into `found` (n,)."""
    dimension, count = columns.shape
    found[:] = 0
    whole = dimension - dimension % 8
    for j in range(0, whole, 8):
        a, b, c, d = row[j], row[j + 1], row[j + 2], row[j + 3]
        e, f, g, h = row[j + 4], row[j + 5], row[j + 6], row[j + 7]
        for i in range(count):
            found[i] = (
                found[i] + a * columns[j, i] + b * columns[j + 1, i] + c * columns[j + 2, i]
                + d * columns[j + 3, i] + e * columns[j + 4, i] + f * columns[j + 5, i]
                + g * columns[j + 6, i] + h * columns[j + 7, i]
            )  # fmt: skip
    for j in range(whole, dimension):
        a = row[j]
        for i in range(count):
            found[i] += a * columns[j, i]


@compiled
def bin_margins(
    weights: Any, shifts: Any, reaches: Any, columns: Any, spread: Any, first: int, last: int, masses: Any
) -> None:
    """Add the masses of K margins at samples `first` to `last` to `masses` (K, bins + 1), float64.

    weights (K, d), shifts (K,), reaches (K,), columns (d, n), spread (n,): float32. The product of weights
    and column, plus the shift, less reach times spread, is a position among the knots. A position t between
    knots a and b = a + 1 puts b - t on a and the rest on b, in whole PARTS of a sample, rounded in favour of
    a. Sums of these are exact for up to 2^24 samples.
    """
    bins = masses.shape[1] - 1
    products, places = np.empty(TILE, np.float32), np.empty(TILE, np.int32)
    tile = np.empty((columns.shape[0], TILE), np.float32)
    counts = np.zeros((4, bins + 2), np.int64)
    end, parts = np.float32(bins), np.float32(PARTS)
    for begin in range(first, last, TILE):
        size = min(TILE, last - begin)
        tile[:, :size] = columns[:, begin : begin + size]
        tile[:, size:] = 0
        for k in range(len(weights)):
            multiply(weights[k], tile, products)
            shift, reach = shifts[k], reaches[k]
            for i in range(size):
                place = products[i] + shift - reach * spread[begin + i]
                places[i] = np.int32(min(max(place, np.float32(0)), end) * parts)
            counts[:] = 0
            for i in range(size):
                place = places[i]
                counts[i & 3, place >> PARTS_BITS] += (1 << COUNT_BITS) + (place & (PARTS - 1))
            below = 0.0
            for j in range(bins + 1):
                packed = counts[0, j] + counts[1, j] + counts[2, j] + counts[3, j]
                above = (packed & ((1 << COUNT_BITS) - 1)) / PARTS
                masses[k, j] += (packed >> COUNT_BITS) - above + below
                below = above


@compiled
def best_plans(shares: Any, factors: Any, enough: float, found: Any) -> None:
    """Put the best of Q plans for each of K margins into `found` (K,).

    shares (K, J); factors (R, J, Q) logs of what plans win at each knot, at R radii from the largest. The
    best is the one that wins most at the first radius at which any wins `enough`, or else at the last.
    """
    radii, _, plans = factors.shape
    growth = np.empty(plans)
    for k in range(len(shares)):
        for radius in range(radii):
            multiply(shares[k], factors[radius], growth)
            best = 0
            for q in range(plans):
                if growth[q] > growth[best]:
                    best = q
            found[k] = best
            if growth[best] >= enough:
                break


@compiled
def best_candidates(rivals: Any, columns: Any, ahead: Any, means: Any, variances: Any, found: Any) -> None:
    """Put the candidate, of A, whose margin has the best mean over standard deviation into `found` (K,).

    rivals (K, d), columns (d, m) samples; ahead (m, A) products of samples and candidates less their means;
    means (A,) of the products less ||a||²/2, and variances (A,) of the products.
    """
    count = columns.shape[1]
    products, shared = np.empty(count), np.empty(ahead.shape[1])
    for k in range(len(rivals)):
        half = 0.0
        for j in range(rivals.shape[1]):
            half += rivals[k, j] * rivals[k, j] / 2
        multiply(rivals[k], columns, products)
        mean = products.mean()
        variance = 0.0
        for i in range(count):
            products[i] -= mean
            variance += products[i] * products[i]
        multiply(products, ahead, shared)
        best, most = 0, -np.inf
        for a in range(len(means)):
            both = max(variances[a] + (variance - 2 * shared[a]) / count, 1e-12)
            score = (means[a] - mean + half) / np.sqrt(both)
            if score > most:
                best, most = a, score
        found[k] = best


def prepare() -> None:
    """Compile the kernels, or load what an earlier process compiled, before the first query has to wait."""
    singles, exact, one = np.ones((1, 8), np.float32), np.ones((1, 8)), np.zeros(1, np.int64)
    single = np.zeros(1, np.float32)
    bin_margins(singles, single, single, singles.T.copy(), single, 0, 1, np.zeros((1, 9)))
    best_plans(exact, np.ones((1, 8, 1)), 0.0, one)
    best_candidates(exact, exact.T.copy(), exact[:, :2], exact[0, :2], exact[0, :2], one)
