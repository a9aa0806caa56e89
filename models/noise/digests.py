"""What names an input, and bytes that name several things."""

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray


def length_prefixed(*fields: bytes) -> bytes:
    """The fields, each behind its length, so that no two lists of fields give the same bytes."""
    return b"".join(struct.pack(">Q", len(field)) + field for field in fields)


def input_digest(image: NDArray[np.float32]) -> bytes:
    """sha256 of an input tensor (C, H, W) float32: its shape and its bytes, with -0.0 read as 0.0."""
    shape = struct.pack(f">{image.ndim}Q", *image.shape)
    canonical = np.ascontiguousarray(image + np.float32(0), dtype="<f4")
    return hashlib.sha256(length_prefixed(b"retrievalguard input 1", shape, canonical.tobytes())).digest()
