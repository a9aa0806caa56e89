"""Cached values that are authentic or not there.

A forged value would be a forged certificate, so every value carries an HMAC over its name and its bytes; one
that does not check out is counted, and computed anew. The layout is fixed: no pickle, nothing is executed. A
cache that is down, slow or full costs time and never changes an answer.
"""

import hashlib
import hmac
import itertools
import logging
from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from models.noise import length_prefixed

log = logging.getLogger("retrievalguard")

Event = Literal["unavailable", "rejected"]
Value = TypeVar("Value")

# A value: magic and version, then the HMAC, then the body.
HEADER = b"RGC\x03"
_START = len(HEADER) + hashlib.sha256().digest_size


class CacheUnavailable(Exception):
    """The store behind the cache did not answer, or refused."""


class CacheStore(Protocol):
    """Bytes by key, at least one a value. Both raise `CacheUnavailable` and nothing else."""

    def get(self, key: str) -> bytes | None:
        """The value, or None."""

    def set(self, key: str, value: bytes) -> None:
        """Keep the value, for as long as the store sees fit."""

    def close(self) -> None:
        """Release what the store holds open."""


class SealedCache:
    """Values of one `kind`. No kind can be read as another: each has a key and names of its own."""

    def __init__(self, store: CacheStore, secret: bytes, kind: str, count: Callable[[Event], None]) -> None:
        self._store = store
        self._kind = kind
        self._rejections = itertools.count(1)
        self._key = hmac.new(secret, b"retrievalguard cache 3 " + kind.encode(), hashlib.sha256).digest()
        self._prefix = f"retrievalguard:{kind}:3:"
        self._count = count

    def get(self, key: bytes, read: Callable[[bytes], Value | None]) -> Value | None:
        """What `read` makes of the bytes kept under `key`; None if there are none that it can read."""
        name = self._name(key)
        try:
            value = self._store.get(name)
        except CacheUnavailable:
            self._count("unavailable")
            return None
        if value is None:
            return None
        body = self._open(name, value)
        found = None if body is None else read(body)
        if found is None:
            self._rejected()
        return found

    def set(self, key: bytes, body: bytes) -> None:
        """Keep `body` under `key`, in place of what was kept before."""
        name = self._name(key)
        try:
            self._store.set(name, HEADER + self._tag(name, body) + body)
        except CacheUnavailable:
            self._count("unavailable")

    def _rejected(self) -> None:
        """Count a value that cannot be used; the log tells of the 1st, the 10th, the 100th and so on."""
        self._count("rejected")
        number = next(self._rejections)
        if str(number).strip("0") == "1":
            log.warning(
                "cached %s that are not authentic, so far %d: they are worked out anew; somebody else writes"
                " to this cache, or it is damaged",
                self._kind,
                number,
            )

    def _name(self, key: bytes) -> str:
        """Keyed, so that names tell nothing of the inputs and another secret has other names."""
        fields = length_prefixed(b"name", key)
        return self._prefix + hmac.new(self._key, fields, hashlib.sha256).hexdigest()

    def _tag(self, name: str, body: bytes) -> bytes:
        message = length_prefixed(b"value", name.encode(), HEADER, body)
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def _open(self, name: str, value: bytes) -> bytes | None:
        """The body of `value` if it is authentic and whole, else None."""
        tag, body = value[len(HEADER) : _START], value[_START:]
        if not value.startswith(HEADER) or not hmac.compare_digest(tag, self._tag(name, body)):
            return None
        return body
