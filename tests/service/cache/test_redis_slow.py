"""Redis behind a bad line, or lying: a lookup costs its time-out at most, and no answer is another one."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from service.cache.redis_store import RETRY_SECONDS, WORKERS, RedisStore
from service.cache.sealed import CacheUnavailable
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import RedisServer, copy_gallery, wait_for
from tests.service.proxy import Proxy
from tests.service.queries import Json, claims, digit

TIMEOUT = 0.03
AT_MOST = 4 * TIMEOUT  # a machine that is busy wakes a thread late
LARGE = np.random.default_rng(0).bytes(2_600_000)  # more than 10,000 samples that cannot be packed

LIES = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a length that is no number": b"$many\r\n",
    "a length below zero": b"$-7\r\n",
    "more than it sends": b"$99999999999\r\nx",
    "a list without end": b"*99999999\r\n",
    "a number": b":1\r\n",
    "that all is well": b"+OK\r\n",
    "a value": b"$5\r\nhello\r\n",
    "two values at once": b"$5\r\nhello\r\n$5\r\nworld\r\n",
    "an error": b"-ERR unknown\r\n",
    "that it is full": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "that it is loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "no text at all": bytes(range(128, 256)),
}


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with redis_server.client() as client:
        client.flushall()
    with Proxy(redis_server.port) as between:
        yield between


@pytest.fixture
def store(proxy: Proxy) -> Iterator[RedisStore]:
    opened = RedisStore(proxy.url, timeout_ms=round(1000 * TIMEOUT), ttl_seconds=60)
    wait_for(lambda: works(opened))
    yield opened
    opened.close()


def works(store: RedisStore) -> bool:
    try:
        store.set("works", b"yes")
        return store.get("works") == b"yes"
    except CacheUnavailable:
        return False


def unavailable(call: Callable[[], object]) -> float:
    """How long a call took that must find the cache unavailable."""
    started = time.perf_counter()
    with pytest.raises(CacheUnavailable):
        call()
    return time.perf_counter() - started


def late(proxy: Proxy) -> None:
    proxy.delay = 3 * TIMEOUT


def trickling(proxy: Proxy) -> None:
    proxy.down_rate = 1


def stopped(proxy: Proxy) -> None:
    proxy.down_rate = 0


def hanging_up(proxy: Proxy) -> None:
    proxy.hangs_up = True


BAD: dict[str, Callable[[Proxy], None]] = {
    "late": late, "stopped": stopped, "hanging up": hanging_up,
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_lookup_costs_no_more_than_its_timeout_and_all_is_well_after(
    proxy: Proxy, store: RedisStore, kind: str
) -> None:
    BAD[kind](proxy)
    assert unavailable(lambda: store.get("works")) < AT_MOST
    proxy.healthy()
    wait_for(lambda: works(store), 2 * RETRY_SECONDS + 1)


def test_a_reply_that_trickles_in_costs_no_more_than_the_timeout(proxy: Proxy, store: RedisStore) -> None:
    store.set("value", bytes(5_000))
    trickling(proxy)  # a byte a millisecond: the line is never silent
    assert unavailable(lambda: store.get("value")) < AT_MOST
    proxy.healthy()
    wait_for(lambda: works(store), 2 * RETRY_SECONDS + 1)


def test_many_lookups_at_once_cost_no_more_each(proxy: Proxy, store: RedisStore) -> None:
    stopped(proxy)
    with ThreadPoolExecutor(64) as pool:
        started = time.perf_counter()
        spent = list(pool.map(lambda number: unavailable(lambda: store.get(str(number))), range(64)))
        assert time.perf_counter() - started < 2 * AT_MOST
    assert max(spent) < 2 * AT_MOST


def test_what_does_not_answer_is_left_alone_for_a_moment(proxy: Proxy, store: RedisStore) -> None:
    stopped(proxy)
    unavailable(lambda: store.get("works"))
    assert sum(unavailable(lambda: store.get("works")) for _ in range(100)) < TIMEOUT


@pytest.mark.parametrize(
    "lie", [b":1\r\n", b"*1\r\n$1\r\nx\r\n", b"-ERR no\r\n", b"$many\r\n", b"nonsense\r\n"]
)
def test_a_reply_that_is_no_value_is_unavailable(proxy: Proxy, store: RedisStore, lie: bytes) -> None:
    proxy.lie = lie
    assert unavailable(lambda: store.get("works")) < AT_MOST


def test_a_reply_that_comes_late_ends_the_moment(proxy: Proxy, store: RedisStore) -> None:
    late(proxy)
    unavailable(lambda: store.get("works"))
    proxy.healthy()
    started = time.perf_counter()
    wait_for(lambda: works(store))
    assert time.perf_counter() - started < RETRY_SECONDS / 2


def test_a_connection_costs_no_more_than_the_timeout(proxy: Proxy) -> None:
    stopped(proxy)
    store = RedisStore(proxy.url.replace("redis://", "redis://:password@"), timeout_ms=30, ttl_seconds=60)
    assert unavailable(lambda: store.get("works")) < AT_MOST
    store.close()


def test_a_name_that_takes_long_to_resolve_costs_no_more_than_the_timeout(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(10 * TIMEOUT)
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    store = RedisStore(redis_server.url, timeout_ms=round(1000 * TIMEOUT), ttl_seconds=60)
    assert unavailable(lambda: store.get("works")) < AT_MOST
    wait_for(lambda: works(store), 2 * RETRY_SECONDS + 1)  # by the connection that was made meanwhile
    store.close()


def test_closing_does_not_wait_for_a_redis_that_hangs(proxy: Proxy) -> None:
    store = RedisStore(proxy.url, timeout_ms=20_000, ttl_seconds=60)
    wait_for(lambda: works(store))
    stopped(proxy)
    with ThreadPoolExecutor(2 * WORKERS) as pool:  # one half at work, the other in line
        asked = [pool.submit(unavailable, lambda: store.get("works")) for _ in range(2 * WORKERS)]
        time.sleep(0.2)
        started = time.perf_counter()
        store.close()
        assert time.perf_counter() - started < 0.5
        assert all(future.result() < 5 for future in asked)


def test_a_late_reply_is_never_taken_for_another(proxy: Proxy, store: RedisStore) -> None:
    keys = [f"key-{number}" for number in range(20)]
    for key in keys:
        store.set(key, key.encode())
    delays = itertools.cycle([0, 2 * TIMEOUT, 0.5 * TIMEOUT, 0, 1.1 * TIMEOUT])

    def ask(key: str) -> bytes | None:
        proxy.delay = next(delays)
        try:
            return store.get(key)
        except CacheUnavailable:
            time.sleep(TIMEOUT)
            return None

    with ThreadPoolExecutor(4) as pool:
        found = [(key, value) for _ in range(3) for key, value in zip(keys, pool.map(ask, keys), strict=True)]
    assert {value for key, value in found if value != key.encode()} <= {None}
    assert 10 < sum(value is not None for _, value in found) < len(found)


def test_a_large_value_on_a_slow_line_holds_up_nothing_and_arrives(
    proxy: Proxy, store: RedisStore, redis_server: RedisServer
) -> None:
    proxy.up_rate = 10_000  # 10 MB/s at best: a quarter of a second for the value
    assert unavailable(lambda: store.set("large", LARGE)) < AT_MOST
    assert store.get("works") == b"yes"  # over another connection, at once
    with redis_server.client() as direct:
        wait_for(lambda: direct.get("large") == LARGE)
    proxy.healthy()
    assert works(store)


def test_a_large_value_that_never_arrives_spoils_no_connection(proxy: Proxy, store: RedisStore) -> None:
    proxy.up_rate = 0
    assert unavailable(lambda: store.set("large", LARGE)) < AT_MOST
    proxy.healthy()
    wait_for(lambda: works(store), 2 * RETRY_SECONDS + 1)

    def whole_or_nothing() -> bool:
        try:
            return store.get("large") in (None, LARGE)
        except CacheUnavailable:  # a busy machine may not read so much in time, and tries again
            return False

    wait_for(whole_or_nothing, 3 * RETRY_SECONDS + 1)
    wait_for(lambda: works(store), 2 * RETRY_SECONDS + 1)


def test_a_large_value_on_a_good_line_is_kept_and_read(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60)
    store.set("large", LARGE)
    assert store.get("large") == LARGE
    store.close()


def test_no_more_of_a_value_is_read_than_the_limit(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cache.redis_store.VALUE_LIMIT", 1000)
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60)
    store.set("at the limit", bytes(1000))
    store.set("over it", bytes(1001))
    with redis_server.client() as direct:
        direct.set("from elsewhere", LARGE)
    assert store.get("at the limit") == bytes(1000)
    assert store.get("over it") is None
    assert store.get("from elsewhere") == LARGE[:1000]
    store.close()


# --- whole answers


ROWS = range(30, 33)


@pytest.fixture(scope="module")
def known(demo_retriever: Retriever) -> dict[int, Json]:
    """The answers without any server, by query."""
    return {row: claims(demo_retriever.retrieve(digit(row)).model_dump(mode="json")) for row in ROWS}


@pytest.fixture
def retriever(
    proxy: Proxy, demo_settings: Settings, demo_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Retriever]:
    """The default time-out, which is that of an installation; only the wait after a failure is shorter."""
    monkeypatch.setattr("service.cache.redis_store.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("service.cache.redis_store.BEHIND_SECONDS", 0.2)
    changes = {"data_dir": copy_gallery(demo_gallery, tmp_path), "redis_url": SecretStr(proxy.url)}
    opened = Retriever.open(demo_settings.model_copy(update=changes))
    wait_for(lambda: ask(opened, ROWS[0])["cache"] == "hit")
    yield opened
    opened.close()


def ask(retriever: Retriever, row: int) -> Json:
    body: Json = retriever.retrieve(digit(row)).model_dump(mode="json")
    return body


def failures(retriever: Retriever) -> float:
    counter = retriever.metrics.cache_failures
    return sum(counter.labels(reason)._value.get() for reason in ("unavailable", "rejected"))


def never_another_answer(retriever: Retriever, proxy: Proxy, known: dict[int, Json]) -> None:
    """Whatever is wrong now: the answers are right, the failures counted, and later there are hits again."""
    before = failures(retriever)
    for row in [*ROWS, *ROWS]:
        assert claims(ask(retriever, row)) == known[row]
    assert failures(retriever) > before
    proxy.healthy()
    wait_for(lambda: all(ask(retriever, row)["cache"] == "hit" for row in ROWS), 20)
    assert [claims(ask(retriever, row)) for row in ROWS] == list(known.values())


@pytest.mark.parametrize("kind", [*BAD, "trickling"])
def test_a_bad_line_changes_no_answer(
    retriever: Retriever, proxy: Proxy, known: dict[int, Json], kind: str
) -> None:
    (BAD | {"trickling": trickling})[kind](proxy)
    never_another_answer(retriever, proxy, known)


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_changes_no_answer(
    retriever: Retriever, proxy: Proxy, known: dict[int, Json], kind: str
) -> None:
    proxy.lie = LIES[kind]
    never_another_answer(retriever, proxy, known)
