"""The noise as a textbook would have it: whole numbers of any size, one number at a time."""

import struct

import mpmath
import numpy as np

from models.noise.chacha import LANES
from models.noise.make_table import quantile
from models.noise.normal import REFINED_BITS, ROWS, SMALLEST, TILE, table

# A key with a number whose tail is below 2^-24, found by trying many.
RARE_KEY, RARE = 1299, 1375


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


def block(key: bytes, counter: int, nonce: bytes = bytes(12)) -> list[int]:
    """The 16 words of a block of ChaCha20 (RFC 8439, section 2.3)."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start += [*struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    x = list(start)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for to, of, other, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[to] = (x[to] + x[of]) % 2**32
            turned = x[other] ^ x[to]
            x[other] = (turned << bits | turned >> 32 - bits) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) % 2**32 for a, b in zip(x, start, strict=True)]


def bits_of(key: bytes, number: int) -> tuple[bool, mpmath.mpf]:
    """Whether a number of the stream of `key` is above 0, and y = 2^64 p, p the probability of its tail."""
    tile, place = divmod(number, TILE)
    j, lane = divmod(place, LANES)
    high, low = block(key, tile * LANES + lane)[2 * j : 2 * j + 2]
    v, half = high % 2**31 * 2**32 + low, mpmath.mpf(1) / 2
    if v < 2**REFINED_BITS:
        half = (block(key, number, struct.pack("<3I", 0, 0, 1))[0] + half) / 2**32
    return high >= 2**31, v + half


def approximate(key: bytes, number: int) -> float:
    """The number by the table, in float64."""
    above, y = bits_of(key, number)
    mantissa, exponent = np.frexp(float(int(y)) + float(y - int(y)))  # the mantissa in [.5, 1)
    place = (float(mantissa) * 2 - 1) * ROWS
    row = (int(exponent) - 1 - SMALLEST) * ROWS + int(place)
    t, z = (place - int(place)) * 2 - 1, 0.0
    for c in table()[row][::-1]:
        z = z * t + float(c)
    return -z if above else z


def exact(key: bytes, number: int) -> mpmath.mpf:
    """The number, in as many digits as mpmath works with."""
    above, y = bits_of(key, number)
    w = quantile(y / 2**64, mpmath.mpf(-abs(approximate(key, number))))
    return -w if above else w
