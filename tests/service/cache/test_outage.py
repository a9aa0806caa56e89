"""What the log tells of a cache that fails: first failures and changes, never a flood, never a password."""

import logging
from collections.abc import Callable
from contextlib import suppress

import pytest

from service.cache.redis_store import RedisStore
from service.cache.sealed import CacheUnavailable, SealedCache
from service.outage import Outage
from tests.service.processes import RedisServer, wait_for


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO)
    return Outage("down (%s)", "up", quiet=60, clock=clock)


def test_the_first_failure_and_the_end_are_told(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.worked()
    for _ in range(3):
        outage.failed("refused")
        clock.now += 1
    outage.worked()
    outage.worked()
    assert caplog.messages == ["down (refused)", "up, after 3 failures in 3 s"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_what_lasts_is_told_once_a_minute(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(900):
        outage.failed("refused")
        clock.now += 0.125
    assert caplog.messages == ["down (refused)", "down (refused) (481 failures in 60 s)"]


def test_what_comes_and_goes_is_told_twice_a_minute_at_most_and_nothing_is_left_out(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(480):
        outage.failed("late")
        outage.worked()
        clock.now += 0.125
    outage.failed("late")
    first, over, again = caplog.messages
    assert (first, over) == ("down (late)", "up, after 1 failure in 0 s")
    assert again == "down (late) (480 failures in 60 s)"


PASSWORD = "correct#horse"
WRITTEN = "correct%23horse"


def failing(call: Callable[[], object]) -> None:
    with suppress(CacheUnavailable):
        call()


def test_a_redis_that_is_killed_and_comes_back_is_told(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60, quiet=0)

    def told(text: str) -> bool:
        failing(lambda: store.get("key"))
        return any(text in message for message in caplog.messages)

    try:
        wait_for(lambda: store.get("key") is None)
        assert caplog.messages == []
        redis_server.kill()
        wait_for(lambda: told("Redis cannot be read"))
        redis_server.start()
        wait_for(lambda: told("Redis answers again, after"))
    finally:
        store.close()


def test_closing_the_store_is_no_failure_of_redis(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60)
    wait_for(lambda: store.get("key") is None)
    with redis_server.hanging():
        failing(lambda: store.get("key"))
        caplog.clear()
        store.close()
        wait_for(lambda: not any(thread.is_alive() for thread in store._workers._threads))
    assert caplog.messages == []


def test_a_full_redis_takes_no_values_and_can_still_be_read(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60)
    with redis_server.client() as control:
        control.config_set("maxmemory", 1)
        try:
            for _ in range(5):
                failing(lambda: store.set("key", b"value"))
                assert store.get("key") is None
        finally:
            control.config_set("maxmemory", 0)
            store.close()
    (message,) = caplog.messages
    assert message.startswith("Redis takes no values (")


@pytest.mark.parametrize("reply", [PASSWORD, WRITTEN], ids=["as sent", "as written"])
def test_a_password_that_a_server_sends_back_is_not_logged(
    reply: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_server.url.replace("//", f"//:{WRITTEN}@")
    store = RedisStore(url, timeout_ms=1000, ttl_seconds=60, quiet=0)

    def refuse(*arguments: object, **named: object) -> None:
        raise ConnectionError(f"unknown command AUTH, with args beginning with {reply}")

    try:
        wait_for(lambda: caplog.messages)  # a password, and the server has none: it is refused
        monkeypatch.setattr(store._client, "getrange", refuse)
        store._retry_at = 0.0
        failing(lambda: store.get("key"))
    finally:
        store.close()
    assert any("(ConnectionError)" in message for message in caplog.messages)
    assert not any(secret in message for message in caplog.messages for secret in (PASSWORD, WRITTEN))


class Forged:
    """A store that gives a wrong value for every key."""

    def get(self, key: str) -> bytes | None:
        return b"not authentic"

    def set(self, key: str, value: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def test_values_that_are_not_authentic_are_told_at_powers_of_ten(caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []
    cache = SealedCache(Forged(), b"secret", "samples", events.append)
    for _ in range(150):
        assert cache.get(b"key", bytes) is None
    assert events == ["rejected"] * 150
    assert [message.split("so far ")[1].split(":")[0] for message in caplog.messages] == ["1", "10", "100"]
