"""The Monte Carlo cache: samples already drawn, so that a repeated query costs no forward pass."""

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.noise import length_prefixed
from service.cache.packing import pack, unpack
from service.cache.sealed import CacheStore, Event, SealedCache

# How the samples are written, their number, their dimension; then the samples, little-endian.
_HEADER = struct.Struct(">cII")
_RAW, _PACKED = b"r", b"p"
# Samples are packed where that saves at least so much of them: less is not worth the time.
WORTH = 0.1


class SampleCache:
    """Samples (n, d) of one smoothed model, by the digest of the input; `chunk` of them belong together."""

    def __init__(
        self,
        store: CacheStore,
        secret: bytes,
        *,
        model_digest: str,
        sigma: float,
        dimension: int,
        chunk: int,
        count: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._values = SealedCache(store, secret, "samples", count)
        self._namespace = length_prefixed(model_digest.encode(), struct.pack(">d", sigma), b"float32")
        self._dimension, self._chunk = dimension, chunk

    def get(self, input_digest: bytes) -> NDArray[np.float32]:
        """The samples (n, d) kept for this input, a whole number of chunks; none at all is (0, d)."""
        samples = self._values.get(length_prefixed(self._namespace, input_digest), self._read)
        return np.empty((0, self._dimension), np.float32) if samples is None else samples

    def set(self, input_digest: bytes, samples: NDArray[np.float32]) -> None:
        """Keep `samples` (n, d), whole chunks of them, in place of what was kept before."""
        form, payload = _PACKED, pack(samples)
        if len(payload) > (1 - WORTH) * 4 * samples.size:
            form, payload = _RAW, samples.astype("<f4").tobytes()
        body = _HEADER.pack(form, *samples.shape) + payload
        self._values.set(length_prefixed(self._namespace, input_digest), body)

    def _read(self, body: bytes) -> NDArray[np.float32] | None:
        """The samples in an authentic `body`; None if it is not laid out as this version does."""
        if len(body) < _HEADER.size:
            return None
        form, count, dimension = _HEADER.unpack_from(body)
        payload = body[_HEADER.size :]
        if dimension != self._dimension or count % self._chunk:
            return None
        if form == _PACKED:
            return unpack(payload, count, dimension)
        if form != _RAW or len(payload) != 4 * count * dimension:
            return None
        return np.frombuffer(payload, dtype="<f4").reshape(count, dimension)
