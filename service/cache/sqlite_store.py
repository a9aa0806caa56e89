"""Cached bytes in an embedded SQLite file: the default, which needs no server."""

import logging
import sqlite3
import threading
import time
from pathlib import Path

from index import private_database
from service.cache.sealed import CacheUnavailable

log = logging.getLogger("retrievalguard")

# How long another process may keep the embedded cache locked before it is done without.
BUSY_MS = 50

# `total` is kept up to date with `entries`, so that no call looks at them all.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, size INTEGER, used REAL, expires REAL, value BLOB);
CREATE INDEX IF NOT EXISTS by_use ON entries (used);
CREATE INDEX IF NOT EXISTS by_end ON entries (expires);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT (SELECT COALESCE(SUM(size), 0) FROM entries) WHERE NOT EXISTS (SELECT 1 FROM total);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries
    BEGIN UPDATE total SET bytes = bytes + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS dropped AFTER DELETE ON entries
    BEGIN UPDATE total SET bytes = bytes - OLD.size; END;
COMMIT;
"""
# When a value was used: by the clock, but after all that was used before. Where a clock is set back, the
# newest values would be dropped first otherwise.
_GET = (
    "UPDATE entries SET used = MAX(?, (SELECT COALESCE(MAX(used), 0) + 0.001 FROM entries))"
    " WHERE key = ? AND expires > ? RETURNING value"
)
_SET = (
    "INSERT OR REPLACE INTO entries"
    " VALUES (?, ?, MAX(?, (SELECT COALESCE(MAX(used), 0) + 0.001 FROM entries)), ?, ?)"
)
_DROP_OLDEST_IF_OVER = (
    "DELETE FROM entries WHERE key = (SELECT key FROM entries ORDER BY used LIMIT 1)"
    " AND (SELECT bytes FROM total) > ?"
)


def embedded_store(path: Path, *, max_bytes: int, ttl_seconds: int) -> "EmbeddedStore | NoStore":
    """The store in this file; where it cannot be used, none: a cache must not stop a start."""
    try:
        return EmbeddedStore(path, max_bytes=max_bytes, ttl_seconds=ttl_seconds)
    except CacheUnavailable as error:
        log.warning("there is no cache, every query is worked out anew: %s", error)
        return NoStore(str(error))


class NoStore:
    """Keeps nothing, and says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def get(self, key: str) -> bytes | None:
        """Raises `CacheUnavailable`."""
        raise CacheUnavailable(self._reason)

    def set(self, key: str, value: bytes) -> None:
        """Raises `CacheUnavailable`."""
        raise CacheUnavailable(self._reason)

    def close(self) -> None:
        """Nothing to close."""


class EmbeddedStore:
    """A bounded SQLite file, least recently used first out, shared by the processes on one machine.

    A damaged file is begun anew; `CacheUnavailable` says that it cannot be used at all. The file is its
    owner's alone.
    """

    def __init__(self, path: Path, *, max_bytes: int, ttl_seconds: int) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._lock = threading.Lock()
        try:
            self._db = _connect_or_begin_anew(path)
        except (sqlite3.Error, OSError) as error:
            raise CacheUnavailable(f"{path} cannot be used ({error})") from error

    def get(self, key: str) -> bytes | None:
        """The value, unless it has expired."""
        now = time.time()
        try:
            with self._lock:
                row = self._db.execute(_GET, (now, key, now)).fetchone()
        except sqlite3.Error as error:
            raise CacheUnavailable(str(error)) from error
        if row is not None and not isinstance(row[0], bytes):
            raise CacheUnavailable("the value is not of bytes")
        return None if row is None else row[0]

    def set(self, key: str, value: bytes) -> None:
        """Keep `value`, and drop the least recently used ones over the limit; one above it is not kept."""
        if len(value) > self._max_bytes:
            return
        now = time.time()
        try:
            with self._lock:
                self._db.execute(_SET, (key, len(value), now, now + self._ttl, value))
                self._db.execute("DELETE FROM entries WHERE expires <= ?", (now,))
                while self._db.execute(_DROP_OLDEST_IF_OVER, (self._max_bytes,)).rowcount:
                    pass
        except sqlite3.Error as error:
            raise CacheUnavailable(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _connect_or_begin_anew(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # busy or not writable, not damaged
        log.warning("%s is damaged (%s): starting with an empty cache", path, error)
        for end in ("", "-wal", "-shm"):  # an old log would be replayed into the new file
            path.with_name(path.name + end).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    private_database(path)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=1)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")  # losing the newest values in a power cut costs time only
    db.execute("PRAGMA recursive_triggers=ON")  # a row that is replaced is a row deleted
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    return db
