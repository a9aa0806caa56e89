"""The Monte Carlo cache: samples already drawn, so that a repeated query costs no forward pass.

A forged value would be a forged certificate, so every value carries an HMAC over its key and its bytes; one
that does not check out is counted and recomputed. The layout is fixed: no pickle, nothing is executed.
A cache that is down, slow or full costs time and never changes an answer.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models import CHUNK
from models.noise import length_prefixed

Event = Literal["unavailable", "rejected"]

# magic, number of samples, dimension; then the HMAC, then the samples as little-endian float32.
_HEADER = struct.Struct(">4sII")
_MAGIC = b"RGS1"
_TAG = hashlib.sha256().digest_size


class CacheUnavailable(Exception):
    """The store behind the cache did not answer, or refused."""


class CacheStore(Protocol):
    """Bytes by key. Both raise `CacheUnavailable` and nothing else."""

    def get(self, key: str) -> bytes | None:
        """The value, or None."""

    def set(self, key: str, value: bytes) -> None:
        """Keep the value, for as long as the store sees fit."""

    def close(self) -> None:
        """Release what the store holds open."""


class SampleCache:
    """Samples (n, d) of one smoothed model, by the digest of the input."""

    def __init__(
        self,
        store: CacheStore,
        secret: bytes,
        *,
        model_digest: str,
        sigma: float,
        dimension: int,
        count: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._store = store
        self._key = hmac.new(secret, b"retrievalguard cache 2", hashlib.sha256).digest()
        self._namespace = length_prefixed(model_digest.encode(), struct.pack(">d", sigma), b"float32")
        self._dimension = dimension
        self._count = count

    def get(self, input_digest: bytes) -> NDArray[np.float32]:
        """The samples (n, d) kept for this input, a whole number of chunks; none at all is (0, d)."""
        key = self._name(input_digest)
        nothing = np.empty((0, self._dimension), np.float32)
        try:
            value = self._store.get(key)
        except CacheUnavailable:
            self._count("unavailable")
            return nothing
        if value is None:
            return nothing
        samples = self._open(key, value)
        if samples is None:
            self._count("rejected")
            return nothing
        return samples

    def set(self, input_digest: bytes, samples: NDArray[np.float32]) -> None:
        """Keep `samples` (n, d), n a multiple of CHUNK, in place of what was kept before."""
        key = self._name(input_digest)
        header = _HEADER.pack(_MAGIC, *samples.shape)
        payload = samples.astype("<f4").tobytes()
        try:
            self._store.set(key, header + self._tag(key, header, payload) + payload)
        except CacheUnavailable:
            self._count("unavailable")

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _name(self, input_digest: bytes) -> str:
        """Keyed, so that names tell nothing of the inputs and another secret has other names."""
        fields = length_prefixed(b"name", self._namespace, input_digest)
        return "retrievalguard:samples:1:" + hmac.new(self._key, fields, hashlib.sha256).hexdigest()

    def _tag(self, key: str, header: bytes, payload: bytes) -> bytes:
        message = length_prefixed(b"value", key.encode(), header, payload)
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def _open(self, key: str, value: bytes) -> NDArray[np.float32] | None:
        """The samples in `value` if it is authentic and whole, else None."""
        start = _HEADER.size + _TAG
        if len(value) < start:
            return None
        header, tag, payload = value[: _HEADER.size], value[_HEADER.size : start], value[start:]
        if not hmac.compare_digest(tag, self._tag(key, header, payload)):
            return None
        magic, count, dimension = _HEADER.unpack(header)
        if (
            magic != _MAGIC
            or dimension != self._dimension
            or count % CHUNK
            or len(payload) != 4 * count * dimension
        ):
            return None
        return np.frombuffer(payload, dtype="<f4").reshape(count, dimension)
