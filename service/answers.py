"""The second layer of the cache: finished answers. A repeated query costs no certificate either."""

import hashlib
import struct
from collections.abc import Callable

from models.noise import length_prefixed
from service.sealed import CacheStore, Event, SealedCache


def answer_key(
    *, model_digest: str, sigma: float, input_digest: bytes, gallery_digest: str, terms: bytes
) -> bytes:
    """The digest of all that an answer depends on; `terms`: options and limits, as the caller writes them.

    The gallery's digest rather than its version: replicas may have other galleries of the same version.
    """
    fields = length_prefixed(
        b"retrievalguard answer 1",
        model_digest.encode(),
        struct.pack(">d", sigma),
        input_digest,
        gallery_digest.encode(),
        terms,
    )
    return hashlib.sha256(fields).digest()


class AnswerCache:
    """The bytes of finished answers, by their `answer_key`."""

    def __init__(
        self, store: CacheStore, secret: bytes, *, count: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._values = SealedCache(store, secret, "answers", count)

    def get(self, key: bytes) -> bytes | None:
        """The answer as it was kept, or None."""
        return self._values.get(key, bytes)

    def set(self, key: bytes, answer: bytes) -> None:
        """Keep `answer`, in place of what was kept before."""
        self._values.set(key, answer)
