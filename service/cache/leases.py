"""Leases: equal queries at replicas that share a Redis are drawn once.

Who draws the samples of an input holds a lease on them; the others wait, and find the samples in the cache. A
lease that its holder does not renew ends by itself: a replica that is lost holds nobody up for longer.
Without an answer from Redis everybody draws: twice the work, and the same samples.
"""

import hashlib
import hmac
import secrets
import threading

from models.noise import length_prefixed
from service.cache.redis_store import RedisStore

# How long a lease holds without being renewed, and how often it is meanwhile.
LEASE_SECONDS, RENEWALS = 5.0, 4


class Leases:
    """Leases on samples that one of the replicas draws, by what `names` them."""

    def __init__(self, store: RedisStore, secret: bytes) -> None:
        self._store = store
        self._key = hmac.new(secret, b"retrievalguard leases 1", hashlib.sha256).digest()
        self._changed = threading.Condition()
        self._held: set[Lease] = set()
        self._renewing = False

    def on(self, *names: bytes) -> "Lease":
        """That on what is named so, held by nobody yet. Its own name tells nothing of these."""
        name = hmac.new(self._key, length_prefixed(*names), hashlib.sha256).hexdigest()
        return Lease(self, f"retrievalguard:lease:1:{name}")

    def take(self, lease: "Lease") -> bool:
        """Whether nobody else has it, as far as Redis can say; it is renewed from now on."""
        if self._store.hold(lease.name, lease.holder, LEASE_SECONDS) is False:
            return False
        with self._changed:
            self._held.add(lease)
            if not self._renewing:
                self._renewing = True
                threading.Thread(target=self._renew, name="leases", daemon=True).start()
        return True

    def leave(self, lease: "Lease") -> None:
        """It is anybody's again."""
        with self._changed:
            if lease not in self._held:
                return
            self._held.remove(lease)
            self._changed.notify_all()
        self._store.let_go(lease.name, lease.holder)

    def _renew(self) -> None:
        """As long as there is any."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, LEASE_SECONDS / RENEWALS)
                held = list(self._held)
                if not held:
                    self._renewing = False
                    return
            for lease in held:
                self._store.hold(lease.name, lease.holder, LEASE_SECONDS)
                with self._changed:
                    kept = lease in self._held
                if not kept:  # it was given up meanwhile, and is not to be ours again
                    self._store.let_go(lease.name, lease.holder)


class Lease:
    """One lease, as one who wants it sees it."""

    def __init__(self, leases: Leases, name: str) -> None:
        self._leases, self.name = leases, name
        self.holder = secrets.token_hex(16)
        self._held = False

    def taken(self) -> bool:
        """Take it, unless it is ours already; whether it is ours, or Redis cannot say."""
        self._held = self._held or self._leases.take(self)
        return self._held

    def leave(self) -> None:
        """Give it up, if it is ours."""
        self._held = False
        self._leases.leave(self)
