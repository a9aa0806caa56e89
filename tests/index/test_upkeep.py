"""What happens in the background changes no answer: compaction, and the file that a start reads."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import Gallery, Item, NewItem, Snapshot, pack
from index.compaction import compacted, due
from index.segment import LiveSegment
from index.upkeep import Upkeep
from service.retrieval.contest import vectors_of
from tests.index.items import MODEL, process

DIMENSION = 6
# Of a small world: when clusters are made, the open segment is full, and a gallery is large.
FEW, OPEN, LARGE = 200, 400, 3000


def some(rng: np.random.Generator, numbers: range, labels: int) -> list[NewItem]:
    vectors = rng.standard_normal((len(numbers), DIMENSION)).astype(np.float32)
    return [
        NewItem(Item(f"item-{number}", f"label {rng.integers(labels)}"), b"an image", "image/png", vector)
        for number, vector in zip(numbers, vectors, strict=True)
    ]


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_same(mine: Snapshot, other: Snapshot) -> None:
    assert (mine.digest, len(mine)) == (other.digest, len(other))
    assert mine.vectors.tobytes() == other.vectors.tobytes()
    for point in mine.lift(np.random.default_rng(0).standard_normal((5, DIMENSION))):
        ours, theirs = mine.nearest(point, 30), other.nearest(point, 30)
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert (ours.distances.tolist(), ours.outside) == (theirs.distances.tolist(), theirs.outside)
    check_clusters(mine)


def check_clusters(snapshot: Snapshot) -> None:
    """As certificates see it: every item is in one cluster, within its radius, and nobody who has left."""
    vectors = vectors_of(snapshot)
    rows = vectors.rows[np.arange(len(vectors.rows))].astype(np.float64)
    there = snapshot.of_others(-1)
    assert there.sum() == len(snapshot)
    held = np.concatenate([part.segment.columns.serials for part in snapshot.parts])[there]
    order = np.argsort(held)
    assert rows[there][order].astype(np.float32).tobytes() == snapshot.vectors.tobytes()
    if len(vectors.centres):
        of = np.repeat(np.arange(len(vectors.centres)), np.diff(vectors.starts))
        gaps = rows - vectors.centres[of].astype(np.float64)
        assert (np.linalg.norm(gaps, axis=1) <= vectors.radii[of]).all()


@pytest.fixture(scope="module", autouse=True)
def small_world() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for name, number in {
            "growth.FEW": FEW, "growth.SEGMENT": 1000, "compaction.FEW": FEW, "compaction.OPEN": OPEN,
            "compaction.SEGMENT": 1000, "next_start.LARGE": LARGE,
        }.items():  # fmt: skip
            patched.setattr(f"index.{name}", number)
        yield


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    opened = Gallery(tmp_path / "gallery.sqlite3", MODEL, DIMENSION, 0.5)
    yield opened
    opened.close()


def test_a_gallery_that_grows_is_put_into_clusters_behind_its_back(gallery: Gallery) -> None:
    rng = np.random.default_rng(1)
    for start in range(0, 8 * OPEN, 160):
        gallery.add(some(rng, range(start, start + 160), 500))
        gallery.snapshot()
    gallery.store.delete([f"item-{number}" for number in range(0, 2000, 2)])
    gallery.snapshot()
    wait(lambda: due(gallery.snapshot().state.arrangement) is None)
    assert len(vectors_of(gallery.snapshot()).centres) > 100
    fresh = Gallery(gallery.store.path, MODEL, DIMENSION, 0.5)
    assert_same(gallery.snapshot(), fresh.snapshot())
    fresh.close()


def test_what_changes_while_segments_are_put_together_stays_changed(gallery: Gallery) -> None:
    rng = np.random.default_rng(2)
    gallery.add(some(rng, range(3000), 300))
    gallery.snapshot()
    wait(lambda: due(gallery.snapshot().state.arrangement) is None)
    before = gallery.snapshot().state.arrangement
    parts: list[LiveSegment] = list(before.parts)
    segments, rest = compacted(before, parts)
    # Some leave, some move, some come: all while the segments above were made.
    gallery.store.delete([f"item-{number}" for number in range(0, 300, 3)])
    gallery.add(some(rng, range(2900, 3100), 300))
    after = gallery.snapshot()
    numbers = [part.segment.number for part in parts]
    arrangement = after.state.arrangement.compacted(numbers, segments, rest)
    assert len(arrangement) == len(after) == 3000
    moved = np.arange(len(after))
    assert arrangement.vectors(moved).tobytes() == after.vectors.tobytes()
    assert arrangement.serials.tolist() == after.state.arrangement.serials.tolist()
    assert sum(map(len, arrangement.all)) == 3000


# --- the file that a start reads


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, NDArray[np.float32]]:
    """A large gallery and its pack, with a change that came after it."""
    path = tmp_path_factory.mktemp("large") / "gallery.sqlite3"
    rng = np.random.default_rng(3)
    gallery = Gallery(path, MODEL, DIMENSION, 0.5)
    gallery.add(some(rng, range(LARGE), 300))
    gallery.snapshot()
    wait(path.with_suffix(".pack").exists)
    gallery.add(some(rng, range(10, 20), 300))
    gallery.store.delete(["item-30"])
    digest, vectors = gallery.snapshot().digest, gallery.snapshot().vectors
    gallery.close()
    return path, digest, vectors


Kept = tuple[Path, str, NDArray[np.float32]]


def opened(kept: Kept, weight: float = 0.5) -> Snapshot:
    gallery = Gallery(kept[0], MODEL, DIMENSION, weight)
    try:
        check_clusters(gallery.snapshot())
        return gallery.snapshot()
    finally:
        gallery.close()


def test_a_start_from_what_was_kept_is_a_start_from_the_database(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Gallery, "_load", None)  # not needed
        found = opened(kept)
    assert (found.digest, found.vectors.tobytes()) == (kept[1], kept[2].tobytes())
    assert kept[0].with_suffix(".pack").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [5, 40, 2000, -100_000, -1])
def test_a_kept_file_that_was_changed_is_not_used(kept: Kept, place: int) -> None:
    file = kept[0].with_suffix(".pack")
    content = bytearray(file.read_bytes())
    assert pack.load(file, MODEL, DIMENSION, 0.5) is not None
    content[place] ^= 1
    other = file.with_name("other.pack")
    for damaged in (bytes(content), bytes(content[:place]), b""):
        other.write_bytes(damaged)
        assert pack.load(other, MODEL, DIMENSION, 0.5) is None
    assert pack.load(file.with_name("none.pack"), MODEL, DIMENSION, 0.5) is None
    assert pack.load(file, "another model", DIMENSION, 0.5) is None
    assert pack.load(file, MODEL, DIMENSION, 0.25) is None


def test_a_kept_file_of_another_history_is_not_used(kept: Kept, tmp_path: Path) -> None:
    other = tmp_path / "gallery.sqlite3"
    rng = np.random.default_rng(4)
    for _ in range(2):  # as many versions
        gallery = Gallery(other, MODEL, DIMENSION, 0.5)
        gallery.add(some(rng, range(50), 5))
        expected = gallery.snapshot().digest
        gallery.close()
    other.with_suffix(".pack").write_bytes(kept[0].with_suffix(".pack").read_bytes())
    gallery = Gallery(other, MODEL, DIMENSION, 0.5)
    assert gallery.snapshot().digest == expected
    gallery.close()


def test_another_process_reads_what_was_kept_too(kept: Kept) -> None:
    code = f"ready(); print(Gallery(path, MODEL, {DIMENSION}, 0.5).snapshot().digest, flush=True)"
    with process(code, kept[0]) as running:
        assert running.stdout is not None
        assert running.stdout.readline().strip() == kept[1]


def test_work_that_failed_is_tried_again_when_there_is_more(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def work() -> bool:
        calls.append("called")
        if len(calls) == 1:
            raise MemoryError
        return False

    upkeep = Upkeep(work)
    upkeep.wake()
    wait(lambda: "upkeep" in caplog.text)
    upkeep.wake()
    wait(lambda: len(calls) == 2)
    upkeep.close()


def test_the_end_does_not_wait_for_work_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.upkeep.CLOSE_SECONDS", 0.2)
    begun, over = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return over.wait(60) and False

    upkeep = Upkeep(work)
    upkeep.wake()
    assert begun.wait(10)
    started = time.monotonic()
    upkeep.close()
    assert time.monotonic() - started < 10
    over.set()
