"""The cache of samples and answers, in both its stores: what it saves; nothing in it can change an answer."""

import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray
from pydantic import SecretStr

from models import Stop
from service.cache.redis_store import RedisStore
from service.cache.samples import SampleCache
from service.cache.sealed import CacheUnavailable
from service.cache.sqlite_store import EmbeddedStore
from service.settings import Settings
from tests.service.processes import PATIENCE_MS, RedisServer, Server, copy_gallery, opened, serving
from tests.service.queries import Json, ask_in_process, claims, tensor

SEALED = 36  # magic, version and HMAC
BODY = SEALED + 9  # how the samples are written, their number, their dimension


class EmbeddedFile:
    """The SQLite file of a server, as someone with access to its disk sees it."""

    def __init__(self, server: Server) -> None:
        self.settings: dict[str, Any] = {"data_dir": server.data}
        self._path = server.data / "cache.sqlite3"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        yield database
        database.close()

    def entries(self, kind: str = "samples") -> dict[str, bytes]:
        with self._open() as database:
            return dict(
                database.execute(
                    "SELECT key, value FROM entries WHERE key LIKE ?", (f"retrievalguard:{kind}:%",)
                ).fetchall()
            )

    def put(self, key: str, value: bytes) -> None:
        with self._open() as database:
            database.execute("UPDATE entries SET value = ? WHERE key = ?", (value, key))

    def remove(self, key: str) -> None:
        with self._open() as database:
            database.execute("DELETE FROM entries WHERE key = ?", (key,))


class InRedis:
    """A server's Redis, as someone with access to it sees it."""

    def __init__(self, server: RedisServer, data: Path) -> None:
        self.settings: dict[str, Any] = {
            "data_dir": data,
            "redis_url": SecretStr(server.url),
            "redis_timeout_ms": PATIENCE_MS,
        }
        self._client = server.client()

    def entries(self, kind: str = "samples") -> dict[str, bytes]:
        keys: list[Any] = self._client.keys(f"retrievalguard:{kind}:*")
        values: list[Any] = self._client.mget(keys) if keys else []
        return {key.decode(): value for key, value in zip(keys, values, strict=True)}

    def put(self, key: str, value: bytes) -> None:
        self._client.set(key, value, keepttl=True)

    def remove(self, key: str) -> None:
        self._client.delete(key)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def forgetful_server(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Iterator[Server]:
    """As `redis_backed_server`, it asks its cache for every answer."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("forgetful"))
    with serving(data, KNOWN_ANSWERS_BYTES=0) as server:
        yield server


@pytest.fixture(params=["embedded", "Redis"])
def cached(request: pytest.FixtureRequest) -> Iterator[tuple[Server, EmbeddedFile | InRedis]]:
    """A server with each kind of cache, and a way into that cache past the server."""
    if request.param == "embedded":
        server: Server = request.getfixturevalue("forgetful_server")
        yield server, EmbeddedFile(server)
    else:
        server = request.getfixturevalue("redis_backed_server")
        store = InRedis(request.getfixturevalue("redis_server"), server.data)
        yield server, store
        store.close()


@pytest.fixture
def query(request: pytest.FixtureRequest) -> Callable[[], list[Any]]:
    """Images that no other test asks for: digits with some noise."""
    rng = np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))

    def draw() -> list[Any]:
        noisy = tensor(int(rng.integers(200))) + rng.normal(0, 0.05, (1, 8, 8))
        pixels: list[Any] = noisy.clip(0, 1).astype(np.float32).tolist()
        return pixels

    return draw


def ask(server: Server, pixels: list[Any], **options: Any) -> Json:
    response = server.client.post("/retrieve", json={"pixels": pixels} | options)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


Cached = tuple[Server, EmbeddedFile | InRedis]
Query = Callable[[], list[Any]]


def test_the_second_answer_is_a_hit_and_equal(cached: Cached, query: Query) -> None:
    server, store = cached
    pixels, before = query(), store.entries()
    drawn = server.metric("retrievalguard_samples_drawn_total")
    hits = server.metric("retrievalguard_cache_lookups_total", result="hit")
    first = ask(server, pixels, top_k=3)
    second = ask(server, pixels, top_k=3)
    assert [first["cache"], second["cache"]] == ["miss", "hit"]
    assert claims(first) == claims(second)
    assert len(store.entries()) == len(before) + 1
    assert server.metric("retrievalguard_samples_drawn_total") - drawn == 256
    assert server.metric("retrievalguard_cache_lookups_total", result="hit") - hits == 1


def test_other_options_on_the_same_image_are_hits(cached: Cached, query: Query) -> None:
    server, pixels = cached[0], query()
    ask(server, pixels)
    for options in (
        {"alpha": 0.1}, {"method": "mean"}, {"guarantee": "item"}, {"top_k": 5}, {"rule": "vote"},
        {"target_radius": 0.001},
    ):  # fmt: skip
        assert ask(server, pixels, **options)["cache"] == "hit"


def test_fewer_samples_are_a_hit_and_more_go_on_from_there(
    cached: Cached, query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    server, pixels = cached[0], query()
    asked = (512, 100, 1000, 256, 2000, 999)
    bodies = [ask(server, pixels, max_samples=count, min_gain=0) for count in asked]
    assert [body["cache"] for body in bodies] == ["miss", "hit", "resumed", "hit", "resumed", "hit"]
    for count, body in zip(asked, bodies, strict=True):
        with opened(demo_settings, data_dir=copy_gallery(demo_gallery, tmp_path / str(count))) as fresh:
            alone = ask_in_process(fresh, pixels, max_samples=count, min_gain=0)
        assert alone["cache"] == "miss"
        assert claims(alone) == claims(body)


def flip(value: bytes, place: int) -> bytes:
    changed = bytearray(value)
    changed[place] ^= 1
    return bytes(changed)


TAMPERED: dict[str, Callable[[bytes, bytes], bytes]] = {
    "a byte of the magic": lambda value, other: flip(value, 0),
    "a byte of the version": lambda value, other: flip(value, 3),
    "a byte of the authentication": lambda value, other: flip(value, 4),
    "how the samples are written": lambda value, other: value[:SEALED] + b"r" + value[SEALED + 1 :],
    "a byte of the number": lambda value, other: flip(value, SEALED + 4),
    "a byte of the dimension": lambda value, other: flip(value, SEALED + 8),
    "the first byte of the samples": lambda value, other: flip(value, BODY),
    "the last byte": lambda value, other: flip(value, -1),
    "all samples zero": lambda value, other: value[:BODY] + bytes(len(value) - BODY),
    "cut off": lambda value, other: value[:-1],
    "cut off in the header": lambda value, other: value[:20],
    "one byte left": lambda value, other: value[:1],
    "more behind": lambda value, other: value + bytes(1024),
    "the value of another image": lambda value, other: other,
    "a pickle": lambda value, other: b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_value_that_is_not_authentic_is_counted_and_computed_anew(
    cached: Cached, query: Query, kind: str
) -> None:
    server, store = cached
    pixels, before, answers = query(), store.entries(), store.entries("answers")
    expected = ask(server, pixels)
    (key,) = store.entries().keys() - before.keys()
    (finished,) = store.entries("answers").keys() - answers.keys()
    store.remove(finished)
    ask(server, query())
    (other,) = store.entries().keys() - before.keys() - {key}
    rejected = server.metric("retrievalguard_cache_failures_total", reason="rejected")

    store.put(key, TAMPERED[kind](store.entries()[key], store.entries()[other]))
    after = ask(server, pixels)
    assert after["cache"] == "miss"
    assert claims(after) == claims(expected)
    assert server.metric("retrievalguard_cache_failures_total", reason="rejected") == rejected + 1
    assert ask(server, pixels)["cache"] == "hit"


def forged(value: bytes, other: bytes) -> bytes:
    """The first digit after the point of every radius is another one."""
    found: bytes = re.sub(
        rb'("(?:label_|item_)?radius":\d\.)(\d)',
        lambda match: match[1] + (b"9" if match[2] != b"9" else b"8"),
        value,
    )
    assert found != value
    return found


TAMPERED_ANSWERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "a byte of the magic": lambda value, other: flip(value, 0),
    "a byte of the version": lambda value, other: flip(value, 3),
    "a byte of the authentication": lambda value, other: flip(value, 4),
    "the first byte of the answer": lambda value, other: flip(value, SEALED),
    "the last byte": lambda value, other: flip(value, -1),
    "other radii": forged,
    "cut off": lambda value, other: value[:-1],
    "cut off in the authentication": lambda value, other: value[:20],
    "nothing behind the authentication": lambda value, other: value[:SEALED],
    "one byte left": lambda value, other: value[:1],
    "more behind": lambda value, other: value + b" ",
    "the answer to another image": lambda value, other: other,
    "a pickle": TAMPERED["a pickle"],
}


@pytest.mark.parametrize("kind", [*TAMPERED_ANSWERS, "the samples of the image"])
def test_an_answer_that_is_not_authentic_is_counted_and_worked_out_anew(
    cached: Cached, query: Query, kind: str
) -> None:
    server, store = cached
    pixels, before, samples = query(), store.entries("answers"), store.entries()
    expected = ask(server, pixels)
    assert expected["certificate"]["radius"] < 8
    (key,) = store.entries("answers").keys() - before.keys()
    (drawn,) = store.entries().keys() - samples.keys()
    ask(server, query())
    (other,) = store.entries("answers").keys() - before.keys() - {key}
    whole = store.entries("answers")
    rejected = server.metric("retrievalguard_cache_failures_total", reason="rejected")

    tamper = TAMPERED_ANSWERS.get(kind)
    store.put(key, tamper(whole[key], whole[other]) if tamper else store.entries()[drawn])
    after = ask(server, pixels)
    assert after["cache"] == "hit"  # its samples are there
    assert claims(after) == claims(expected)
    assert server.metric("retrievalguard_cache_failures_total", reason="rejected") == rejected + 1
    assert claims(ask(server, pixels)) == claims(expected)
    assert server.metric("retrievalguard_cache_failures_total", reason="rejected") == rejected + 1


def test_a_repeated_question_is_answered_without_a_look_at_the_samples(cached: Cached, query: Query) -> None:
    server, store = cached
    pixels, before = query(), store.entries()
    first = ask(server, pixels, top_k=3)
    (key,) = store.entries().keys() - before.keys()
    store.remove(key)
    drawn = server.metric("retrievalguard_samples_drawn_total")
    second = ask(server, pixels, top_k=3)
    assert second["cache"] == "hit"
    assert claims(second) == claims(first)
    assert server.metric("retrievalguard_samples_drawn_total") == drawn
    spent = second["timing_ms"]
    assert [spent[name] for name in ("queue", "sample", "search", "certify")] == [0, 0, 0, 0]
    # Another question about the same image needs them.
    assert ask(server, pixels, top_k=4)["cache"] == "miss"


def test_an_answer_holds_for_its_gallery_only(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    pixels = query()
    data = copy_gallery(demo_gallery, tmp_path)
    with opened(demo_settings, data_dir=data, label_weight=0) as retriever:
        first = ask_in_process(retriever, pixels, top_k=2)
        retriever.gallery.store.delete([first["neighbor"]["id"]])
        second = ask_in_process(retriever, pixels, top_k=2)
    assert second["cache"] == "hit"  # the samples are of the image alone
    assert second["neighbor"] == first["neighbors"][0]
    assert second["gallery"]["size"] == first["gallery"]["size"] - 1
    assert second["gallery"]["version"] > first["gallery"]["version"]


def test_the_cache_knows_neither_the_image_nor_the_secret(cached: Cached, query: Query) -> None:
    server, store = cached
    pixels, before = query(), store.entries()
    ask(server, pixels)
    (key,) = store.entries().keys() - before.keys()
    assert len(key.rpartition(":")[2]) == 64
    image = np.array(pixels, np.float32).tobytes()
    assert image not in store.entries()[key]


def test_another_process_with_the_same_secret_reads_the_values_and_one_with_another_does_not(
    cached: Cached, query: Query, demo_settings: Settings
) -> None:
    server, store = cached
    pixels = query()
    expected = ask(server, pixels)
    with opened(demo_settings, **store.settings) as same:
        shared = ask_in_process(same, pixels)
    assert shared["cache"] == "hit"
    assert claims(shared) == claims(expected)
    secret = SecretStr("another secret than that of the tests")
    with opened(demo_settings, **store.settings, secret=secret) as other:
        apart = ask_in_process(other, pixels)
        assert apart["cache"] == "miss"
        assert other.metrics.cache_failures.labels("rejected")._value.get() == 0
    assert apart["neighbor"]["distance"] != expected["neighbor"]["distance"]
    assert ask(server, pixels)["cache"] == "hit"


def test_a_value_that_has_expired_is_drawn_again(
    cached: Cached, query: Query, demo_settings: Settings
) -> None:
    store, pixels = cached[1], query()
    with opened(demo_settings, **store.settings, cache_ttl_seconds=1) as retriever:
        first, second = ask_in_process(retriever, pixels), ask_in_process(retriever, pixels)
        time.sleep(1.1)
        third = ask_in_process(retriever, pixels)
    assert [body["cache"] for body in (first, second, third)] == ["miss", "hit", "miss"]
    assert claims(first) == claims(second) == claims(third)


def test_the_embedded_cache_drops_what_was_used_least_recently(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    old, used, new = query(), query(), query()
    sizes = []  # of two queries each: samples are packed, so that some take more bytes than others
    for other in (old, new):
        measured = copy_gallery(demo_gallery, tmp_path / f"measured {len(sizes)}")
        with opened(demo_settings, data_dir=measured) as retriever:
            for pixels, rank in ((used, 1), (used, 2), (other, 1)):
                ask_in_process(retriever, pixels, top_k=rank)
        sizes.append(kept(measured))
    limit = max(sizes) + 100  # the times in an answer are not always as long
    data = copy_gallery(demo_gallery, tmp_path / "bounded")
    with opened(demo_settings, data_dir=data, cache_max_bytes=limit) as retriever:
        drawn = retriever.metrics.samples._value
        # The second time its answer is used again, the third time its samples.
        for pixels, rank in ((used, 1), (old, 1), (used, 1), (used, 2), (new, 1)):
            ask_in_process(retriever, pixels, top_k=rank)
        assert drawn.get() == 3 * 256
        for pixels, rank in ((used, 1), (used, 2), (used, 3), (new, 1)):
            assert ask_in_process(retriever, pixels, top_k=rank)["cache"] == "hit"
        # Its samples are gone; a small answer may be left, so another one is asked for.
        assert ask_in_process(retriever, old, top_k=2)["cache"] == "miss"
        assert drawn.get() == 4 * 256
    assert kept(data) <= limit


def kept(data: Path) -> int:
    """Bytes of all values in the embedded cache of a data folder."""
    with closing(sqlite3.connect(data / "cache.sqlite3")) as database:
        return int(database.execute("SELECT SUM(LENGTH(value)) FROM entries").fetchone()[0])


def test_what_redis_evicts_is_drawn_again(
    query: Query, redis_server: RedisServer, redis_backed_server: Server
) -> None:
    pixels = query()
    with redis_server.client() as client:
        first = ask(redis_backed_server, pixels)
        client.flushall()
        second = ask(redis_backed_server, pixels)
    assert [first["cache"], second["cache"]] == ["miss", "miss"]
    assert claims(first) == claims(second)


def test_an_embedded_cache_that_breaks_is_counted_and_changes_no_answer(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    with opened(demo_settings, data_dir=data) as retriever:
        pixels = query()
        expected = ask_in_process(retriever, pixels)
        database = sqlite3.connect(data / "cache.sqlite3")
        database.execute("DROP TABLE entries")
        database.close()
        after = ask_in_process(retriever, pixels)
        assert claims(after) == claims(expected)
        assert after["cache"] == "miss"
        assert retriever.metrics.cache_failures.labels("unavailable")._value.get() >= 1


def test_a_cache_file_that_is_no_database_does_not_stop_the_service(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    (data / "cache.sqlite3").write_bytes(b"not a database at all" * 1000)
    with opened(demo_settings, data_dir=data) as retriever:
        assert ask_in_process(retriever, query())["neighbor"]["id"]


def test_a_damaged_cache_file_changes_no_answer(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    data, pixels = copy_gallery(demo_gallery, tmp_path), query()
    file = data / "cache.sqlite3"
    with opened(demo_settings, data_dir=data) as retriever:
        expected = claims(ask_in_process(retriever, pixels))
    for place in range(0, file.stat().st_size, 997):
        whole = file.read_bytes()
        file.write_bytes(whole[:place] + bytes(byte ^ 0x5A for byte in whole[place : place + 3000]))
        with opened(demo_settings, data_dir=data) as retriever:
            assert [claims(ask_in_process(retriever, pixels)) for _ in range(2)] == [expected, expected]
        file.write_bytes(whole)


def test_an_embedded_cache_that_is_full_changes_no_answer(
    query: Query, demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    with opened(demo_settings, data_dir=copy_gallery(demo_gallery, tmp_path), cache_max_bytes=1) as retriever:
        pixels = query()
        bodies = [ask_in_process(retriever, pixels) for _ in range(2)]
    assert [body["cache"] for body in bodies] == ["miss", "miss"]
    assert claims(bodies[0]) == claims(bodies[1])


def test_the_same_query_from_many_threads_gets_one_answer(cached: Cached, query: Query) -> None:
    server, pixels = cached[0], query()
    with ThreadPoolExecutor(8) as pool:
        sizes = [256, 1000, 512, 256] * 4
        bodies = list(pool.map(lambda count: ask(server, pixels, max_samples=count), sizes))
    for size in set(sizes):
        answers = [claims(body) for body, count in zip(bodies, sizes, strict=True) if count == size]
        assert all(body == answers[0] for body in answers)
    assert ask(server, pixels, max_samples=256)["cache"] == "hit"


# --- the stores alone


@pytest.fixture(params=["embedded", "Redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedStore | RedisStore]:
    opened: EmbeddedStore | RedisStore
    if request.param == "embedded":
        opened = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=100_000, ttl_seconds=60)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        opened = RedisStore(server.url, timeout_ms=1000, ttl_seconds=60)
    yield opened
    opened.close()


def test_a_store_gives_back_the_last_bytes_of_a_key(store: EmbeddedStore | RedisStore) -> None:
    key = "retrievalguard:test"
    for value in (b"\0", bytes(range(256)), b"\r\n$-1\r\n"):
        store.set(key, value)
        assert store.get(key) == value
    assert store.get("retrievalguard:no such key") is None


def test_a_store_that_is_closed_is_unavailable(store: EmbeddedStore | RedisStore) -> None:
    store.set("retrievalguard:test", b"value")
    store.close()
    with pytest.raises(CacheUnavailable):
        store.get("retrievalguard:test")
    with pytest.raises(CacheUnavailable):
        store.set("retrievalguard:test", b"value")


@pytest.mark.parametrize(
    "change", [{"secret": b"y" * 32}, {"model_digest": "sha256:b"}, {"sigma": 0.5}, {"dimension": 32}]
)
def test_samples_of_another_secret_model_or_noise_are_not_found(
    store: EmbeddedStore | RedisStore, change: dict[str, Any]
) -> None:
    mine: dict[str, Any] = {
        "secret": b"x" * 32,
        "model_digest": "sha256:a",
        "sigma": 0.25,
        "dimension": 4,
        "chunk": 128,
    }
    samples = np.random.default_rng(0).random((256, 4), dtype=np.float32)
    SampleCache(store, **mine).set(b"input", samples)
    np.testing.assert_array_equal(SampleCache(store, **mine).get(b"input"), samples)
    assert len(SampleCache(store, **mine | change).get(b"input")) == 0
    assert len(SampleCache(store, **mine).get(b"another input")) == 0


def test_a_value_over_the_size_of_the_embedded_store_is_not_kept_and_costs_no_other(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=100, ttl_seconds=60)
    store.set("small", b"x")
    store.set("large", bytes(101))
    assert (store.get("small"), store.get("large")) == (b"x", None)
    store.close()


def test_the_embedded_store_knows_its_size_whatever_is_replaced_expires_or_is_dropped(tmp_path: Path) -> None:
    path, rng = tmp_path / "cache.sqlite3", np.random.default_rng(0)

    def sizes() -> tuple[int, int]:
        with closing(sqlite3.connect(path)) as database:
            known = database.execute("SELECT bytes FROM total").fetchall()
            held = database.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM entries").fetchone()[0]
        ((total,),) = known
        return total, held

    for ttl in (60, 60, 0):  # opened again: the same file, and then one whose values expire at once
        store = EmbeddedStore(path, max_bytes=10_000, ttl_seconds=ttl)
        for _ in range(100):
            store.set(f"key-{rng.integers(20)}", rng.bytes(int(rng.integers(1, 3000))))
            total, held = sizes()
            assert total == held <= 10_000
        store.close()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_has_the_oldest_dropped_and_not_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    store = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=1000, ttl_seconds=86_400)
    for name in ("first", "second", "third"):
        store.set(name, bytes(250))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    store.set("fourth", bytes(250))
    assert store.get("first") is not None  # used again
    store.set("fifth", bytes(250))
    assert [name for name in ("first", "second", "third", "fourth", "fifth") if store.get(name)] == [
        "first", "third", "fourth", "fifth",
    ]  # fmt: skip


def test_writing_to_a_full_embedded_store_does_not_take_longer_the_more_it_holds(tmp_path: Path) -> None:
    def seconds(entries: int) -> float:
        store = EmbeddedStore(tmp_path / f"{entries}.sqlite3", max_bytes=100 * entries, ttl_seconds=60)
        store._db.execute("BEGIN")
        for number in range(entries):
            store.set(f"old-{number}", bytes(100))
        store._db.execute("COMMIT")
        spent = []
        for number in range(30):
            started = time.perf_counter()
            store.set(f"new-{number}", bytes(100))
            spent.append(time.perf_counter() - started)
        assert store.get("old-0") is None
        assert store.get("old-30") is not None
        store.close()
        return sorted(spent)[15]

    assert seconds(20_000) < 10 * seconds(200) + 0.001


def test_an_embedded_store_that_another_process_has_locked_is_done_without(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=1000, ttl_seconds=60)
    store.set("key", b"value")
    with closing(sqlite3.connect(tmp_path / "cache.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in (lambda: store.get("key"), lambda: store.set("key", b"other")):
            started = time.perf_counter()
            with pytest.raises(CacheUnavailable):
                call()
            assert time.perf_counter() - started < 0.5
        other.execute("ROLLBACK")
    assert store.get("key") == b"value"
    store.close()


def test_a_redis_that_is_not_there_is_unavailable_at_once_and_left_alone_for_a_moment() -> None:
    store = RedisStore("redis://127.0.0.1:1/0", timeout_ms=50, ttl_seconds=60)
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(CacheUnavailable):
            store.get("key")
        with pytest.raises(CacheUnavailable):
            store.set("key", b"value")
    assert time.perf_counter() - started < 1
    store.close()


def test_a_value_of_another_type_in_redis_is_unavailable(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, timeout_ms=1000, ttl_seconds=60)
    with redis_server.client() as client:
        client.rpush("retrievalguard:a list", "x")
    with pytest.raises(CacheUnavailable):
        store.get("retrievalguard:a list")
    store.close()


def test_a_value_of_another_type_in_the_embedded_store_is_unavailable(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=1000, ttl_seconds=60)
    store.set("key", b"value")
    with closing(sqlite3.connect(tmp_path / "cache.sqlite3", isolation_level=None)) as other:
        other.execute("UPDATE entries SET value = 'text'")
    with pytest.raises(CacheUnavailable):
        store.get("key")
    store.close()


def image(value: float) -> NDArray[np.float32]:
    return np.full((1, 8, 8), value, np.float32)


def test_samples_do_not_depend_on_what_was_cached_before(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    drawn = []
    for number, steps in enumerate([[2000], [256, 2000], [300, 700, 1100, 2000]]):
        data = copy_gallery(demo_gallery, tmp_path / str(number))
        with opened(demo_settings, data_dir=data) as retriever:
            for step in steps:
                with retriever._answering.samples.of(image(0.25)) as asked:
                    samples = asked.first(step, Stop())
                    asked.keep()
        assert samples.shape == (2000, 64)
        drawn.append(samples)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_redis_needs_no_authority_but_to_read_and_set(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command(
            "ACL",
            "SETUSER",
            "service",
            "on",
            ">password",
            "~retrievalguard:*",
            "+getrange",
            "+set",
            "-@dangerous",
        )
        url = redis_server.url.replace("redis://", "redis://service:password@")
        store = RedisStore(url, timeout_ms=1000, ttl_seconds=60)
        store.set("retrievalguard:test", b"value")
        assert store.get("retrievalguard:test") == b"value"
        store.close()
        with pytest.raises(redis.exceptions.NoPermissionError), redis.Redis.from_url(url) as limited:
            limited.flushall()
