"""What becomes of segments on shards when something fails while they are handed over or mended."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index import Gallery, Shard, ShardMissing, Shards
from index.failures import StoreFailure, StoreUnreachable
from index.reading import Reading
from index.segment import Segment
from index.shards.messages import Answer, Hold, Request
from tests.index.items import MODEL
from tests.index.sharding import DIMENSION, FakeCopy, copies, fill, small_world

SECONDS = 0.3


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_world(monkeypatch)


@pytest.fixture
def held() -> list[list[FakeCopy]]:
    return copies(3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of segments 1 to 5 at least."""
    path = tmp_path / "gallery.sqlite3"
    gallery = Gallery(path, MODEL, DIMENSION, 0.5)
    fill(gallery, np.random.default_rng(1), 150)
    gallery.close()
    return path


@pytest.fixture
def shards(held: list[list[FakeCopy]]) -> Iterator[Shards]:
    shards = Shards(held, SECONDS)
    yield shards
    shards.close()


@pytest.fixture
def far(path: Path, shards: Shards) -> Iterator[Gallery]:
    gallery = Gallery(path, MODEL, DIMENSION, 0.5, shards=shards)
    yield gallery
    gallery.close()


def counts(held: list[list[FakeCopy]]) -> list[list[int]]:
    return [[len(copy.shard._held) for copy in pair] for pair in held]


def assert_whole(gallery: Gallery, held: list[list[FakeCopy]]) -> None:
    """All vectors are there, on both copies."""
    assert np.isfinite(gallery.snapshot().vectors).all()
    for pair in held:
        assert set(pair[0].shard._held) == set(pair[1].shard._held)


def test_a_reload_that_fails_at_the_database_takes_nothing_from_shards(
    far: Gallery, held: list[list[FakeCopy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read, lots = counts(held), Reading.entries, []

    def away(*asked: object) -> object:
        lots.append(asked)
        if len(lots) == 6:
            raise StoreUnreachable("the database is away")
        return read(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(Reading, "entries", away)
    with pytest.raises(StoreUnreachable), far.store.view() as db:
        far._load(db)
    far.mend()
    assert counts(held) == before
    assert_whole(far, held)


def test_a_reload_that_fails_at_another_shard_takes_nothing_from_shards(
    far: Gallery, shards: Shards, held: list[list[FakeCopy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments of shard 1 were handed over again when shard 2 takes none: they stay."""
    for copy in held[1]:
        copy.shard = Shard()
    keep = shards.keep

    def keep_some(segment: Segment) -> Segment:
        if segment.number == 5:
            raise ShardMissing(2, ["away for a moment"])
        return keep(segment)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "keep", keep_some)
        with pytest.raises(ShardMissing, match="for a moment"):
            far.mend()
    far.mend()
    assert_whole(far, held)


def test_one_copy_gone_and_the_other_empty_is_read_from_the_store_again(
    far: Gallery, held: list[list[FakeCopy]]
) -> None:
    held[1][0].dead, held[1][1].shard = True, Shard()
    with pytest.raises(ShardMissing):
        _ = far.snapshot().vectors
    far.mend()
    assert np.isfinite(far.snapshot().vectors).all()


class Hung(FakeCopy):
    """A machine that was switched off: it neither answers nor refuses."""

    def __call__(self, request: Request, seconds: float) -> Answer:
        time.sleep(seconds)
        raise TimeoutError("hung")


def test_a_copy_that_hangs_is_waited_for_only_as_long_as_a_question(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a minute for each of its segments otherwise (ten seconds here)."""
    monkeypatch.setattr("index.shards.copies.HANDED_SECONDS", 10.0)
    held = [[Hung(), FakeCopy()]]
    shards = Shards(held, SECONDS)
    began = time.monotonic()
    gallery = Gallery(path, MODEL, DIMENSION, 0.5, shards=shards)
    assert time.monotonic() - began < 5
    assert len(held[0][1].shard._held) == 5
    began = time.monotonic()
    gallery.mend()
    assert time.monotonic() - began < 5
    assert np.isfinite(gallery.snapshot().vectors).all()
    gallery.close()
    shards.close()


class Hangs(FakeCopy):
    """A copy that will hang once it is told to, as if its machine were switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.well = threading.Event()
        self.well.set()

    def __call__(self, request: Request, seconds: float) -> Answer:
        if not self.well.wait(seconds):
            raise TimeoutError("hung")
        return super().__call__(request, seconds)


def test_while_all_copies_hang_queries_after_a_large_change_wait_only_as_long_as_for_a_question(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were behind one that waited a minute for each segment (a quarter of one here)."""
    monkeypatch.setattr("index.shards.copies.HANDED_SECONDS", 15.0)
    monkeypatch.setattr("index.gallery.MANY", 20)
    held = [Hangs(), Hangs()]
    shards = Shards([held], SECONDS)
    gallery = Gallery(path, MODEL, DIMENSION, 0.5, shards=shards)
    for copy in held:
        copy.well.clear()
    fill(gallery, np.random.default_rng(2), 150)  # all items again: a gallery of its own

    def asked(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(StoreFailure):
            gallery.snapshot()
        return time.monotonic() - began

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(asked, range(6))) < 10 * SECONDS
    for copy in held:
        copy.well.set()
    assert np.isfinite(gallery.snapshot().vectors).all()
    gallery.close()
    shards.close()


def test_both_copies_are_given_a_segment_at_once(far: Gallery, held: list[list[FakeCopy]]) -> None:
    both = threading.Barrier(2)

    def meets(request: Request, answer: Answer) -> Answer:
        if isinstance(request, Hold):
            both.wait(5)
        return answer

    for copy in held[0]:
        copy.falsify = meets
    with far.store.view() as db:
        far._load(db)
    assert not both.broken
    assert_whole(far, held)
