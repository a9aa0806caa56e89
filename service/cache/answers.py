"""The cache of finished answers: a repeated query costs no certificate either."""

from collections.abc import Callable

from service.cache.sealed import CacheStore, Event, SealedCache


class AnswerCache:
    """The bytes of finished answers, by the digest of all that they depend on."""

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
