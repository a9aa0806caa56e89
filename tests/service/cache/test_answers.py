"""The cache of finished answers, in both stores: what it is asked under; no other bytes pass for one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cache import sealed
from service.cache.answers import AnswerCache
from service.cache.redis_store import RedisStore
from service.cache.samples import SampleCache
from service.cache.sqlite_store import EmbeddedStore
from service.retrieval.repeats import answer_key
from tests.service.processes import RedisServer

SECRET = b"x" * 32
ANSWER = b'{"neighbor":{"id":"a"}}'
QUESTION: dict[str, Any] = {
    "model_digest": "sha256:m",
    "sigma": 0.25,
    "input_digest": b"i",
    "gallery_digest": "sha256:g",
    "layout": "sha256:l",
    "terms": b"t",
}
KEY = answer_key(**QUESTION)


class Seen:
    """A store with a record of the last key and value, and a way to put others in."""

    def __init__(self, store: EmbeddedStore | RedisStore) -> None:
        self.store = store
        self.last = ("", b"")

    def get(self, key: str) -> bytes | None:
        return self.store.get(key)

    def set(self, key: str, value: bytes) -> None:
        self.last = (key, value)
        self.store.set(key, value)

    def close(self) -> None:
        self.store.close()


@pytest.fixture(params=["embedded", "Redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Seen]:
    if request.param == "embedded":
        opened = Seen(EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=100_000, ttl_seconds=60))
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        with server.client() as client:
            client.flushall()
        opened = Seen(RedisStore(server.url, timeout_ms=1000, ttl_seconds=60))
    yield opened
    opened.close()


def answers(store: Seen, events: list[str] | None = None, secret: bytes = SECRET) -> AnswerCache:
    return AnswerCache(store, secret, count=[].append if events is None else events.append)


def test_an_answer_comes_back_byte_for_byte_and_the_last_one_counts(store: Seen) -> None:
    cache = answers(store)
    assert cache.get(KEY) is None
    for answer in (ANSWER, b"", bytes(range(256)) * 100):
        cache.set(KEY, answer)
        assert cache.get(KEY) == answer
    assert answers(store).get(KEY) == answer


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": "sha256:n"}, {"sigma": 0.5}, {"input_digest": b"j"}, {"gallery_digest": "sha256:h"},
        {"terms": b"u"}, {"layout": "sha256:m"}, {"layout": "sha256:", "terms": b"lt"},
        {"input_digest": b"isha256:"},
    ],
)  # fmt: skip
def test_another_question_is_not_answered(store: Seen, change: dict[str, Any]) -> None:
    cache = answers(store)
    cache.set(KEY, ANSWER)
    assert cache.get(answer_key(**QUESTION | change)) is None
    assert cache.get(answer_key(**QUESTION)) == ANSWER


def test_another_secret_finds_nothing_and_rejects_nothing(store: Seen) -> None:
    events: list[str] = []
    answers(store).set(KEY, ANSWER)
    assert answers(store, events, b"y" * 32).get(KEY) is None
    assert events == []


def test_names_and_values_do_not_tell_the_question(store: Seen) -> None:
    answers(store).set(KEY, ANSWER)
    name, value = store.last
    assert KEY.hex() not in name
    assert KEY not in value


def test_an_answer_of_another_question_is_rejected(store: Seen) -> None:
    events: list[str] = []
    cache = answers(store, events)
    cache.set(KEY, ANSWER)
    name = store.last[0]
    cache.set(b"another", b"{}")
    store.store.set(name, store.last[1])
    assert cache.get(KEY) is None
    assert events == ["rejected"]


@pytest.mark.parametrize("place", [0, 3, 4, 35, 36, -1])
def test_a_changed_byte_is_rejected(store: Seen, place: int) -> None:
    events: list[str] = []
    cache = answers(store, events)
    cache.set(KEY, ANSWER)
    name, value = store.last
    changed = bytearray(value)
    changed[place] ^= 1
    for bad in (bytes(changed), value[:place], value + b"}"):
        events.clear()
        store.store.set(name, bad or b"\0")
        assert cache.get(KEY) is None
        assert events == ["rejected"]
    store.store.set(name, value)
    assert cache.get(KEY) == ANSWER


def test_an_authentic_value_of_another_version_is_rejected(
    store: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    with monkeypatch.context() as old:
        old.setattr(sealed, "HEADER", b"RGC\x02")
        answers(store).set(KEY, ANSWER)
        assert answers(store).get(KEY) == ANSWER
    assert answers(store, events).get(KEY) is None
    assert events == ["rejected"]


def test_samples_are_never_read_as_an_answer_nor_an_answer_as_samples(store: Seen) -> None:
    events: list[str] = []
    samples = SampleCache(
        store, SECRET, model_digest="m", sigma=0.25, dimension=4, chunk=128, count=events.append
    )
    cache = answers(store, events)
    samples.set(KEY, np.ones((128, 4), np.float32))
    sample_name, sample_value = store.last
    assert cache.get(KEY) is None
    cache.set(KEY, sample_value)  # an authentic answer whose bytes are authentic samples
    answer_name, answer_value = store.last
    assert events == []
    store.store.set(answer_name, sample_value)
    store.store.set(sample_name, answer_value)
    assert cache.get(KEY) is None
    assert len(samples.get(KEY)) == 0
    assert events == ["rejected", "rejected"]
