"""ChaCha20 (RFC 8439), compiled: `LANES` blocks at a time, so that each step is one of vectors.

numba compiles at the first call and keeps what it made on disk where that may be written.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import uint32

# Blocks at a time, each of 16 words of 32 bits.
LANES = 128


def compiled(function: Callable[..., Any]) -> Any:
    """`function`, compiled when it is first called; every operation is rounded on its own, as IEEE 754 says.

    Nothing is contracted or reordered, so the same numbers come out on every processor.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder that may be written: compile once in every process
        return numba.njit(nogil=True)(function)


@compiled
def _turned(word: Any, bits: int) -> Any:
    return uint32(word << uint32(bits)) | uint32(word >> uint32(32 - bits))


@compiled
def keystream(key: Any, stream: int, first: int, words: Any) -> None:
    """Fill `words` (16, lanes) uint32: column i is block `first` + i of the stream.

    `key` (8,) uint32, little-endian as all in ChaCha20. `stream` is the last word of the nonce, whose others
    are 0.
    """
    lanes = words.shape[1]
    start = np.empty(16, np.uint32)
    start[0], start[1], start[2], start[3] = 0x61707865, 0x3320646E, 0x79622D32, 0x6B206574
    for i in range(8):
        start[4 + i] = key[i]
    start[12], start[13], start[14], start[15] = first, 0, 0, stream
    for i in range(16):
        for lane in range(lanes):
            words[i, lane] = start[i]
    for lane in range(lanes):
        words[12, lane] += uint32(lane)
    for half in range(20):
        turn = half & 1  # columns and diagonals by turns
        for q in range(4):
            a, b = words[q], words[4 + (q + turn & 3)]
            c, d = words[8 + (q + 2 * turn & 3)], words[12 + (q + 3 * turn & 3)]
            for lane in range(lanes):  # a quarter round (RFC 8439, section 2.1)
                a[lane] += b[lane]
                d[lane] = _turned(d[lane] ^ a[lane], 16)
                c[lane] += d[lane]
                b[lane] = _turned(b[lane] ^ c[lane], 12)
                a[lane] += b[lane]
                d[lane] = _turned(d[lane] ^ a[lane], 8)
                c[lane] += d[lane]
                b[lane] = _turned(b[lane] ^ c[lane], 7)
    for i in range(16):
        for lane in range(lanes):
            words[i, lane] += start[i]
    for lane in range(lanes):
        words[12, lane] += uint32(lane)
