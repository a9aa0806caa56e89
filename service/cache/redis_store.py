"""Cached bytes in Redis, for several replicas."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.cache.sealed import CacheUnavailable
from service.outage import QUIET_SECONDS, Outage

# After a failure Redis is left alone for this long: queries in a burst do not each wait for its time-out.
RETRY_SECONDS = 1.0
# How long the network may be silent in what goes on behind an answer.
BEHIND_SECONDS = 1.0
# Calls of Redis at a time, with those that nobody waits for any more.
WORKERS = 16
# The largest value that is kept in Redis, and the most that is read of one.
VALUE_LIMIT = 64 * 2**20

# In one step each: whoever takes a key that nobody holds, or that is theirs already, holds it for so many ms
# more; and who holds it lets it go.
_HOLD = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1
"""
_LET_GO = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

# The most that the log tells of an error.
REASON_LIMIT = 200


class RedisStore:
    """A Redis server; its own `maxmemory` bounds it.

    A call holds up an answer for `timeout_ms` at most, be it by name resolution, a connection, a reply that
    trickles in or a large value. What it began goes on behind it: a late write may still be of use, a late
    reply ends the time for which Redis is left alone, and it is read by the connection that asked, so that it
    is never taken for another.
    """

    def __init__(self, url: str, *, timeout_ms: int, ttl_seconds: int, quiet: float = QUIET_SECONDS) -> None:
        self._secrets = _secrets(url)
        self._closed = False
        # Apart: a full Redis answers every question and takes no value.
        self._reading = Outage(
            "Redis cannot be read (%s): samples are drawn again until it answers",
            "Redis answers again",
            quiet=quiet,
        )
        self._writing = Outage(
            "Redis takes no values (%s): samples are not kept until it does",
            "Redis takes values again",
            quiet=quiet,
        )
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
        self._workers.submit(
            self._run, self._client.ping, self._reading
        )  # so that the first query finds a connection

    def get(self, key: str) -> bytes | None:
        """The value, or None; cut off at `VALUE_LIMIT`."""
        call = self._submit(lambda: self._client.getrange(key, 0, VALUE_LIMIT - 1), self._reading)
        try:
            value = self._result(call)
        except TimeoutError as error:
            if call.cancelled() or not call.done():  # it did not answer meanwhile
                self._pause()
                self._failed(self._reading, error)
            raise CacheUnavailable("Redis did not answer in time") from error
        if not isinstance(value, bytes):
            raise CacheUnavailable("Redis did not answer with bytes")
        return value or None

    def set(self, key: str, value: bytes) -> None:
        """Keep `value` for the time to live, also when that takes longer than this call."""
        if len(value) > VALUE_LIMIT:
            return
        call = self._submit(lambda: self._client.set(key, value, ex=self._ttl), self._writing)
        try:
            self._result(call)
        except TimeoutError as error:  # a large value on a slow line: reading may go on
            raise CacheUnavailable("Redis has not taken the value yet") from error

    def add(self, name: str, amount: int, seconds: int) -> int | None:
        """Add to a count that replicas share and that is forgotten after `seconds`; None if it fails."""

        def command() -> object:
            with self._client.pipeline(transaction=False) as together:
                together.incrby(name, amount)
                together.expire(name, seconds)
                return together.execute()[0]

        try:
            count = self._result(self._submit(command, self._writing))
        except (CacheUnavailable, TimeoutError):
            return None
        return count if isinstance(count, int) else None

    def hold(self, name: str, holder: str, seconds: float) -> bool | None:
        """Whether `holder` has what is named so for the next `seconds`, and nobody else; None if it fails."""

        def command() -> object:
            return self._client.eval(_HOLD, 1, name, holder, str(round(1000 * seconds)))

        try:
            answer = self._result(self._submit(command, self._writing))
        except (CacheUnavailable, TimeoutError):
            return None
        return answer == 1 if isinstance(answer, int) else None

    def let_go(self, name: str, holder: str) -> None:
        """What `holder` has is anybody's again; if that fails, when its time is over."""
        with suppress(CacheUnavailable, TimeoutError):
            self._result(self._submit(lambda: self._client.eval(_LET_GO, 1, name, holder), self._writing))

    def close(self) -> None:
        """Close the connections, also those in use."""
        self._closed = True
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _submit(self, command: Callable[[], object], outage: Outage) -> Future[object]:
        if time.monotonic() < self._retry_at:
            raise CacheUnavailable("Redis failed a moment ago")
        try:
            return self._workers.submit(self._run, command, outage)
        except RuntimeError as error:  # closed, or no thread to be had
            raise CacheUnavailable(str(error)) from error

    def _run(self, command: Callable[[], object], outage: Outage) -> object:
        """In a worker: any failure is `CacheUnavailable`, also of a client that cannot read what it got."""
        try:
            result = command()
        except redis.ResponseError as error:  # full, or not allowed: it answers, so reading may go on
            self._failed(outage, error)
            raise CacheUnavailable(str(error)) from error
        except Exception as error:
            self._pause()
            self._failed(outage, error)
            raise CacheUnavailable(str(error)) from error
        self._retry_at = 0.0
        outage.worked()
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

    def _failed(self, outage: Outage, error: Exception) -> None:
        """Have the log tell of it, in one line without the password: some servers send it back."""
        if self._closed:  # connections in use are cut: that is no failure of Redis
            return
        said = " ".join(str(error).split()) or "no answer in time"
        if any(secret in said for secret in self._secrets):
            said = type(error).__name__
        outage.failed(said[:REASON_LIMIT])


def _secrets(url: str) -> set[str]:
    """The password of a `REDIS_URL`, written and sent; or a user name that stands alone: it may be one."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    written = [*query.get("password", []), parts.password or parts.username or ""]
    return {form for text in written if text for form in (text, unquote(text))}
