"""Gaussian noise as a keyed function: the same query meets the same noise, and nobody can predict it.

If a repeated query were sampled afresh, the best of many radii could be picked, and the confidence would be
void. If its noise could be predicted, an input could be ground until its samples happen to look robust.
So the noise of each chunk is an SFC64 stream whose 192-bit state is an HMAC over everything it may depend on.
Its numbers are seen by nobody, so what the key has to withstand is guessing.

Pixels and noise lie on one grid, fine enough for float32 to add them exactly. Otherwise the rounding of
x + σz would depend on x, and a network could tell x from x + δ by the last bits of the sum: the attacks of
Jin et al. 2022 (arXiv 2205.10159) and Voráček & Hein 2022 (arXiv 2207.07209).
"""

import hashlib
import hmac
import math
import struct
import threading
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Samples in a chunk: the unit in which noise is drawn and passed through the network. So many for small
# images; for larger ones fewer, down to the second number, so that a chunk has no more than so many pixels.
CHUNK, LEAST_CHUNK, CHUNK_PIXELS = 128, 8, 2**18

# A gallery vector is a fixed number to the certificate of every query. If an item met the same noise as a
# query with the same pixels, it would depend on that query's samples; so the two never share a stream.
Purpose = Literal["query", "gallery"]


def chunk_size(input_shape: tuple[int, int, int]) -> int:
    """Samples in a chunk of images (C, H, W): a power of two, and nothing but the shape decides it."""
    chunk = CHUNK
    while chunk > LEAST_CHUNK and chunk * math.prod(input_shape) > CHUNK_PIXELS:
        chunk //= 2
    return chunk


def grid_step(sigma: float) -> float:
    """The step of the grid: 2^-20 for σ <= 1, twice that for σ <= 2, and so on.

    For |x| <= 1 and |z| <= 15, x + σz is then a multiple of it below 2^24 steps: exact in float32.
    """
    return 2.0 ** (max(math.ceil(math.log2(sigma)), 0) - 20)


def on_grid(image: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """The `image`, float32 or float64, with every pixel moved to the grid: by at most half a step.

    Exactly so for pixels in [0, 1], as dividing by a power of two is exact. A float64 image must come as it
    is: rounded to float32 first, its pixels would move by up to .53 steps.
    """
    step = grid_step(sigma)
    moved: NDArray[np.float64] = np.rint(image.astype(np.float64) / step) * step
    return moved.astype(np.float32)


class KeyedNoise:
    """Gaussian noise for chunks of samples, keyed by a secret, a model and σ."""

    def __init__(self, secret: bytes, model_digest: str, sigma: float) -> None:
        if len(secret) < 16:
            raise ValueError("the noise secret must have at least 16 bytes")
        self._secret = secret
        self._model_digest = model_digest
        self._sigma = sigma
        self._local = threading.local()  # a generator cannot be shared between threads

    def fill(self, out: NDArray[np.float32], purpose: Purpose, input_digest: bytes, chunk: int) -> None:
        """Fill `out` with N(0, σ²), rounded to the grid: chunk number `chunk` of the input with this digest.

        The numbers are drawn in float64, whose resolution is far below the grid's.
        """
        key = hmac.new(
            self._secret,
            length_prefixed(
                b"retrievalguard noise 3",
                purpose.encode(),
                self._model_digest.encode(),
                struct.pack(">d", self._sigma),
                input_digest,
                struct.pack(">Q", chunk),
            ),
            hashlib.sha256,
        ).digest()
        generator, drawn = self._generator(key[:24]), self._buffer(out.shape)
        generator.standard_normal(out=drawn)
        step = grid_step(self._sigma)
        drawn *= self._sigma / step
        np.rint(drawn, out=drawn)
        np.multiply(drawn, step, out=out, casting="same_kind")

    def _buffer(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """This thread's numbers in the making."""
        if getattr(self._local, "drawn", None) is None or self._local.drawn.shape != shape:
            self._local.drawn = np.empty(shape)
        drawn: NDArray[np.float64] = self._local.drawn
        return drawn

    def _generator(self, key: bytes) -> np.random.Generator:
        """This thread's generator, set to the stream of `key` (24 bytes)."""
        if not hasattr(self._local, "generator"):
            self._local.generator = np.random.Generator(np.random.SFC64(0))
        generator: np.random.Generator = self._local.generator
        words = np.array([*np.frombuffer(key, "<u8"), 1], np.uint64)
        generator.bit_generator.state = {
            "bit_generator": "SFC64",
            "state": {"state": words},
            "has_uint32": 0,
            "uinteger": 0,
        }
        return generator


def length_prefixed(*fields: bytes) -> bytes:
    """The fields, each behind its length, so that no two lists of fields give the same bytes."""
    return b"".join(struct.pack(">Q", len(field)) + field for field in fields)


def input_digest(image: NDArray[np.float32]) -> bytes:
    """sha256 of an input tensor (C, H, W) float32: its shape and its bytes, with -0.0 read as 0.0."""
    shape = struct.pack(f">{image.ndim}Q", *image.shape)
    canonical = np.ascontiguousarray(image + np.float32(0), dtype="<f4")
    return hashlib.sha256(length_prefixed(b"retrievalguard input 1", shape, canonical.tobytes())).digest()
