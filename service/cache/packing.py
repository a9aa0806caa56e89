"""Samples (n, d) as bytes: what a ReLU silenced is written once a row.

A silenced coordinate of an embedding is the smallest number of its row, bit for bit
(`models.networks.embedding.FLOOR` over the norm), and most coordinates are. So a row is its smallest
number, one bit a coordinate, and the other numbers as they are: a third of the bytes for the demo model,
smaller and faster than general compression (docs/log.md). Nothing can swell: a packed byte
stands for 32 at most.
"""

import numpy as np
from numpy.typing import NDArray


def pack(samples: NDArray[np.float32]) -> bytes:
    """`samples` (n, d) without repeating the smallest number of each row; bit for bit, so -0.0 stays -0.0."""
    bits = np.ascontiguousarray(samples, "<f4").view("<u4")
    lowest = bits.min(axis=1, keepdims=True)
    others = bits != lowest
    return b"".join((np.packbits(others).tobytes(), lowest.tobytes(), bits[others].tobytes()))


def unpack(packed: bytes, count: int, dimension: int) -> NDArray[np.float32] | None:
    """The samples (count, dimension) that were packed; None if `packed` is not as long as it says."""
    flags = -(-count * dimension // 8)
    start = flags + 4 * count
    if len(packed) < start:
        return None
    marks = np.unpackbits(np.frombuffer(packed, np.uint8, flags), count=count * dimension)
    others = marks.view(np.bool_).reshape(count, dimension)
    if len(packed) - start != 4 * int(marks.sum(dtype=np.int64)):
        return None
    bits = np.repeat(np.frombuffer(packed, "<u4", count, flags), dimension).reshape(count, dimension)
    bits[others] = np.frombuffer(packed, "<u4", offset=start)
    samples: NDArray[np.float32] = bits.view("<f4")
    return samples
