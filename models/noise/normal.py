"""From random bits to normal numbers: the inverse of the normal distribution, by table and polynomial.

A number takes 64 bits: a sign, and v in [0, 2^63), which says that the tail beyond the number has probability
p = (v + 1/2) / 2^64. Where v is below 2^40 the grid is finer than such tails, so there 32 bits from another
stream take the place of the 1/2. Only sums and products of float64 and conversions follow, each correctly
rounded by IEEE 754: so a GPU and a CPU get the same bits.

The table has a row for each sixteenth of an octave of p, the coefficients of a polynomial of degree 7 in the
place t in [-1, 1) of p within it. `models/noise/make_table.py` made it and proves how far a number is from
the exact one: at most ERROR times the larger of it and 1.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.noise.chacha import LANES, compiled, keystream

TABLE = Path(__file__).parent / "normal_table.npy"
# The table decides the noise as code does: through this line it is part of the model digest.
TABLE_SHA256 = "d72b100fab2ede0017e1f8208eccbaddd29ebc3d1b630a6d3eab43335ad7e2a5"
# Rows per octave, and the exponent of the smallest and the largest y = 2^64 p that has a row.
ROWS, DEGREE, SMALLEST, LARGEST = 16, 7, -33, 63
ERROR = 1e-15
# Numbers beyond this have 32 more bits: v is below 2^REFINED_BITS.
REFINED_BITS = 40
# No number is larger: p is at least 2^-97.
LARGEST_NUMBER = 11.4
# Added and taken off again, it rounds to a whole number, of two that are equally near to the even one.
WHOLE = 1.5 * 2.0**52
# So many in a tile more than one in each are never refined.
MOST_REFINED = 64
# Numbers that one round of the keystream makes, 8 of each block; the streams of their bits, and of those that
# refine.
TILE = 8 * LANES
PLAIN, REFINING = 0, 1
# What the key 1299 makes of so many numbers at σ = 1/4. One is refined; and for whole sixteens a GPU has the
# kernel that it has for chunks of images.
KNOWN_KEY, KNOWN_COUNT, KNOWN_SIGMA, KNOWN_STEP = (1299, 0, 0, 0, 0, 0, 0, 0), 1408, 0.25, 2.0**-20
KNOWN_SHA256 = "6362948bebcda086838f9a39c4a5f7b258dd9b33300b7da274a8b9c0334901c8"


@cache
def table() -> NDArray[np.float64]:
    """The coefficients (rows, 8), constant first, for y from 2^SMALLEST to 2^LARGEST, which is the last row.

    Raises `RuntimeError` if the file is not the one that this version was made with.
    """
    content = TABLE.read_bytes()
    if hashlib.sha256(content).hexdigest() != TABLE_SHA256:
        raise RuntimeError(f"{TABLE} was changed or damaged: install the program again")
    rows = (LARGEST - SMALLEST) * ROWS + 1
    return np.frombuffer(content[-rows * (DEGREE + 1) * 8 :], "<f8").reshape(rows, DEGREE + 1)


def check() -> None:
    """Compile now, and raise `RuntimeError` if what was compiled makes other noise than this version does.

    numba takes code that it kept for today's as long as its own file is the same, whatever that calls.
    """
    found = np.empty(KNOWN_COUNT, np.float32)
    fill(found, np.array(KNOWN_KEY, np.uint32), KNOWN_SIGMA / KNOWN_STEP, KNOWN_STEP)
    check_known(found, f"delete {TABLE.parent / '__pycache__'}, where code of another version may be")


def check_known(found: NDArray[np.float32], way_out: str) -> None:
    """Raise `RuntimeError` if `found` (KNOWN_COUNT,) is not the noise that is known."""
    if hashlib.sha256(found.astype("<f4").tobytes()).hexdigest() != KNOWN_SHA256:
        raise RuntimeError(f"noise is computed wrongly here, and no certificate would hold: {way_out}")


def fill(out: NDArray[np.float32], key: NDArray[np.uint32], scale: float, step: float) -> None:
    """Fill `out` (n,) with normal numbers times `scale`, rounded to whole numbers, times `step`.

    `key` (8,), little-endian. In tile k, number j LANES + i is of the words 2j and 2j + 1 of block
    k LANES + i.
    """
    refined = np.empty(len(out) // TILE + MOST_REFINED, np.int64)
    count = _fill(out, key, table(), scale, step, refined)
    if count > len(refined):
        raise RuntimeError(f"{count} of {len(out)} numbers are in the tails: that is not noise")
    words = np.empty((16, 1), np.uint32)
    for number in refined[:count]:
        tile, place = divmod(int(number), TILE)
        j, lane = divmod(place, LANES)
        keystream(key, REFINING, int(number), words)
        half = (float(words[0, 0]) + 0.5) * 2.0**-32
        keystream(key, PLAIN, tile * LANES + lane, words)
        high, low = words[2 * j], words[2 * j + 1]
        y = np.array([float((int(high[0]) & 0x7FFFFFFF) << 32 | int(low[0])) + half])
        _transform(y, high, table(), scale, step, out[number : number + 1])


@compiled
def _fill(out: Any, key: Any, rows: Any, scale: float, step: float, refined: Any) -> int:
    """All numbers as if none were refined, and the places of those that have to be: returns their number."""
    words, y, count = np.empty((16, LANES), np.uint32), np.empty(LANES, np.float64), 0
    for tile in range(0, len(out), TILE):
        keystream(key, PLAIN, tile // 8, words)
        for first in range(tile, min(tile + TILE, len(out)), LANES):
            j, n = (first - tile) // LANES, min(LANES, len(out) - first)
            high, low = words[2 * j, :n], words[2 * j + 1, :n]
            for i in range(n):
                v = (np.int64(high[i] & np.uint32(0x7FFFFFFF)) << 32) | np.int64(low[i])
                y[i] = np.float64(v) + 0.5
                if v < 1 << REFINED_BITS:
                    if count < len(refined):
                        refined[count] = first + i
                    count += 1
            _transform(y[:n], high, rows, scale, step, out[first : first + n])
    return count


@compiled
def _transform(y: Any, high: Any, rows: Any, scale: float, step: float, out: Any) -> None:
    """Put the numbers of tails y / 2^64 (n,), with the signs of `high` (n,), into `out`; `y` is used up."""
    bits = y.view(np.int64)
    row = np.empty(LANES, np.int64)
    for i in range(len(y)):
        row[i] = (bits[i] >> 48) - ((1023 + SMALLEST) << 4)
        bits[i] = (bits[i] & 0xFFFFFFFFFFFF) | (1023 << 52)
    for i in range(len(y)):
        t, r = (y[i] - 1.0) * 32.0 - 1.0, row[i]
        z = rows[r, 7]
        for power in range(6, -1, -1):
            z = z * t + rows[r, power]
        sign = 1.0 - 2.0 * np.float64(high[i] >> np.uint32(31))
        out[i] = ((sign * z * scale + WHOLE) - WHOLE) * step
