"""Where cached bytes live: an embedded SQLite file by default, Redis for several replicas."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

from service.cache import CacheUnavailable

log = logging.getLogger("retrievalguard")

# After a failure Redis is left alone for this long: queries in a burst do not each wait for its time-out.
RETRY_SECONDS = 1.0


class EmbeddedStore:
    """A bounded SQLite file, least recently used first out, shared by the processes on one machine."""

    def __init__(self, path: Path, *, max_bytes: int, ttl_seconds: int) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _connect(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # busy or not writable, not damaged
            log.warning("%s is damaged (%s): starting with an empty cache", path, error)
            path.unlink()
            self._db = _connect(path)

    def get(self, key: str) -> bytes | None:
        """The value, unless it has expired."""
        now = time.time()
        try:
            with self._lock:
                row = self._db.execute(
                    "UPDATE entries SET used = ? WHERE key = ? AND expires > ? RETURNING value",
                    (now, key, now),
                ).fetchone()
        except sqlite3.Error as error:
            raise CacheUnavailable(str(error)) from error
        return None if row is None else row[0]

    def set(self, key: str, value: bytes) -> None:
        """Keep `value`, and drop the least recently used ones over the limit; one above it is not kept."""
        if len(value) > self._max_bytes:
            return
        now = time.time()
        try:
            with self._lock:
                self._db.execute(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
                    (key, len(value), now, now + self._ttl, value),
                )
                self._db.execute(
                    "DELETE FROM entries WHERE expires <= ? OR key IN (SELECT key FROM (SELECT key,"
                    " SUM(size) OVER (ORDER BY used DESC, key) AS total FROM entries) WHERE total > ?)",
                    (now, self._max_bytes),
                )
        except sqlite3.Error as error:
            raise CacheUnavailable(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=1)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")  # losing the newest values in a power cut costs time only
    db.execute(
        "CREATE TABLE IF NOT EXISTS entries"
        " (key TEXT PRIMARY KEY, size INTEGER, used REAL, expires REAL, value BLOB)"
    )
    return db


class RedisStore:
    """A Redis server. Its own `maxmemory` bounds it; a short time-out keeps it from slowing answers."""

    def __init__(self, url: str, *, timeout_ms: int, ttl_seconds: int) -> None:
        self._ttl = ttl_seconds
        self._retry_at = 0.0
        seconds = timeout_ms / 1000
        self._client = redis.Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds, retry_on_timeout=False
        )

    def get(self, key: str) -> bytes | None:
        """The value, or None."""
        value = self._call(lambda: self._client.get(key))
        return value if isinstance(value, bytes) else None

    def set(self, key: str, value: bytes) -> None:
        """Keep `value` for the time to live."""
        self._call(lambda: self._client.set(key, value, ex=self._ttl))

    def _call(self, command: Callable[[], object]) -> object:
        if time.monotonic() < self._retry_at:
            raise CacheUnavailable("Redis failed a moment ago")
        try:
            return command()
        except redis.ResponseError as error:  # full, or not allowed: it answers, so reading may go on
            raise CacheUnavailable(str(error)) from error
        except (redis.RedisError, OSError) as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            raise CacheUnavailable(str(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
