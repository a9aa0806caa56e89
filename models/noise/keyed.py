"""The noise of each chunk of samples: a stream of its own, keyed by all that it may depend on."""

import hashlib
import hmac
import struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.noise.digests import length_prefixed
from models.noise.grid import grid_step
from models.noise.normal import check, fill

# A gallery vector is a fixed number to the certificate of every query. If an item met the same noise as a
# query with the same pixels, it would depend on that query's samples; so the two never share a stream.
Purpose = Literal["query", "gallery"]


class KeyedNoise:
    """Gaussian noise for chunks of samples, keyed by a secret, a model and σ."""

    def __init__(self, secret: bytes, model_digest: str, sigma: float) -> None:
        if len(secret) < 16:
            raise ValueError("the noise secret must have at least 16 bytes")
        self._secret = secret
        self._model_digest = model_digest
        self.sigma = sigma
        check()  # compiled now, and not while a query waits

    def key(self, purpose: Purpose, input_digest: bytes, chunk: int) -> bytes:
        """The 32 bytes that key chunk number `chunk` of the input with this digest."""
        return hmac.new(
            self._secret,
            length_prefixed(
                b"retrievalguard noise 4",
                purpose.encode(),
                self._model_digest.encode(),
                struct.pack(">d", self.sigma),
                input_digest,
                struct.pack(">Q", chunk),
            ),
            hashlib.sha256,
        ).digest()

    def fill(self, out: NDArray[np.float32], purpose: Purpose, input_digest: bytes, chunk: int) -> None:
        """Fill `out`, contiguous, with N(0, σ²), rounded to the grid: this chunk of this input."""
        key = np.frombuffer(self.key(purpose, input_digest, chunk), "<u4")
        step = grid_step(self.sigma)
        fill(out.reshape(-1), key, self.sigma / step, step)
