"""Where cached bytes live: an embedded SQLite file by default, Redis for several replicas."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.sealed import CacheUnavailable

log = logging.getLogger("retrievalguard")

# After a failure Redis is left alone for this long: queries in a burst do not each wait for its time-out.
RETRY_SECONDS = 1.0
# How long the network may be silent in what goes on behind an answer.
BEHIND_SECONDS = 1.0
# Calls of Redis at a time, with those that nobody waits for any more.
WORKERS = 16
# The largest value that is kept in Redis, and the most that is read of one.
VALUE_LIMIT = 64 * 2**20
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
_DROP_OLDEST_IF_OVER = (
    "DELETE FROM entries WHERE key = (SELECT key FROM entries ORDER BY used LIMIT 1)"
    " AND (SELECT bytes FROM total) > ?"
)


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
            for end in ("", "-wal", "-shm"):  # an old log would be replayed into the new file
                path.with_name(path.name + end).unlink(missing_ok=True)
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
                self._db.execute(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
                    (key, len(value), now, now + self._ttl, value),
                )
                self._db.execute("DELETE FROM entries WHERE expires <= ?", (now,))
                while self._db.execute(_DROP_OLDEST_IF_OVER, (self._max_bytes,)).rowcount:
                    pass
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
    db.execute("PRAGMA recursive_triggers=ON")  # a row that is replaced is a row deleted
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    return db


class RedisStore:
    """A Redis server; its own `maxmemory` bounds it.

    A call holds up an answer for `timeout_ms` at most, be it by name resolution, a connection, a reply that
    trickles in or a large value. What it began goes on behind it: a late write may still be of use, a late
    reply ends the time for which Redis is left alone, and it is read by the connection that asked, so that it
    is never taken for another.
    """

    def __init__(self, url: str, *, timeout_ms: int, ttl_seconds: int) -> None:
        self._seconds = timeout_ms / 1000
        self._ttl = ttl_seconds
        self._retry_at = 0.0
        self._client = redis.Redis.from_url(
            url,
            protocol=2,  # a greeting and messages in between are of no use here
            socket_timeout=BEHIND_SECONDS,
            socket_connect_timeout=BEHIND_SECONDS,
            retry=Retry(NoBackoff(), 0),  # a failure is a miss, not a reason to wait
        )
        self._workers = ThreadPoolExecutor(WORKERS, "redis")
        self._workers.submit(self._run, self._client.ping)  # so that the first query finds a connection

    def get(self, key: str) -> bytes | None:
        """The value, or None; cut off at `VALUE_LIMIT`."""
        call = self._submit(lambda: self._client.getrange(key, 0, VALUE_LIMIT - 1))
        try:
            value = self._result(call)
        except TimeoutError as error:
            if call.cancelled() or not call.done():  # it did not answer meanwhile
                self._pause()
            raise CacheUnavailable("Redis did not answer in time") from error
        if not isinstance(value, bytes):
            raise CacheUnavailable("Redis did not answer with bytes")
        return value or None

    def set(self, key: str, value: bytes) -> None:
        """Keep `value` for the time to live, also when that takes longer than this call."""
        if len(value) > VALUE_LIMIT:
            return
        call = self._submit(lambda: self._client.set(key, value, ex=self._ttl))
        try:
            self._result(call)
        except TimeoutError as error:  # a large value on a slow line: reading may go on
            raise CacheUnavailable("Redis has not taken the value yet") from error

    def close(self) -> None:
        """Close the connections, also those in use."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _submit(self, command: Callable[[], object]) -> Future[object]:
        if time.monotonic() < self._retry_at:
            raise CacheUnavailable("Redis failed a moment ago")
        try:
            return self._workers.submit(self._run, command)
        except RuntimeError as error:  # closed, or no thread to be had
            raise CacheUnavailable(str(error)) from error

    def _run(self, command: Callable[[], object]) -> object:
        """In a worker: any failure is `CacheUnavailable`, also of a client that cannot read what it got."""
        try:
            result = command()
        except redis.ResponseError as error:  # full, or not allowed: it answers, so reading may go on
            raise CacheUnavailable(str(error)) from error
        except Exception as error:
            self._pause()
            raise CacheUnavailable(str(error)) from error
        self._retry_at = 0.0
        return result

    def _result(self, call: Future[object]) -> object:
        """What the worker got in time; `TimeoutError` if it did not, and not at all if it had not begun."""
        try:
            return call.result(self._seconds)
        except CancelledError as error:
            raise CacheUnavailable("the cache was closed") from error
        finally:
            call.cancel()

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
