"""The second layer of the cache: finished answers. A repeated query costs no certificate either."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy
import scipy

import certify
import index
import models
import service
from models.noise import length_prefixed
from service.sealed import CacheStore, Event, SealedCache


def _code() -> bytes:
    """The digest of this program and of the libraries that decide an answer.

    A certificate from before a mistake was mended must not be served as one of today's.
    """
    libraries = [f"{module.__name__} {module.__version__}" for module in (numpy, scipy, faiss)]
    found = hashlib.sha256(" ".join(libraries).encode())
    for package in (certify, index, models, service):
        for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
            found.update(length_prefixed(package.__name__.encode(), path.name.encode(), path.read_bytes()))
    return found.digest()


CODE = _code()


def answer_key(
    *, model_digest: str, sigma: float, input_digest: bytes, gallery_digest: str, terms: bytes
) -> bytes:
    """The digest of all that an answer depends on; `terms`: options and limits, as the caller writes them.

    The gallery's digest rather than its version: replicas may have other galleries of the same version.
    """
    fields = length_prefixed(
        b"retrievalguard answer 2",
        CODE,
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
