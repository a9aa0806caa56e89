"""The store is durable and its changes are all or nothing: real processes write, and are really killed."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import GalleryError, GalleryStore, Item, Place, SharedGallery, StoreBusy, postgres
from tests.index.items import MODEL, PRELUDE, ROOT, enough, loaded, new, process

Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def store(place: Place) -> Iterator[GalleryStore]:
    opened = GalleryStore(place)
    yield opened
    opened.close()


def ids(store: GalleryStore, model: str = MODEL) -> list[str]:
    return [item.id for item in loaded(store, model)[1]]


def test_the_newest_version_is_told_at_once_or_not_at_all(store: GalleryStore, place: Place) -> None:
    if isinstance(place, SharedGallery):
        assert store.newest_at_once() is None  # it would have to be asked for
    store.follow()
    for name in ("one", "two"):
        store.add([new(name)], MODEL)
        assert store.newest_at_once() == store.newest()
    with closing(GalleryStore(place)) as other:
        other.add([new("three")], MODEL)
    deadline = time.monotonic() + 5.0
    while (found := store.newest_at_once()) is None or found.number != 3:
        assert isinstance(place, SharedGallery)  # a file is read anew each time
        assert time.monotonic() < deadline


def test_who_must_not_wait_for_a_file_does_not(tmp_path: Path) -> None:
    with closing(GalleryStore(tmp_path / "gallery.sqlite3")) as store, ThreadPoolExecutor(1) as pool:
        store.add([new("one")], MODEL)
        with store.view(), store.transaction():  # all of it is being read, and changed
            assert pool.submit(store.newest_at_once).result(timeout=5) == (1, store.newest_at_once().name)  # type: ignore[union-attr]
        with sqlite3.connect(tmp_path / "gallery.sqlite3") as other:
            other.execute("DROP TABLE versions")
        assert store.newest_at_once() is None


# --- durability


def test_what_was_added_outlives_a_process_that_is_killed(place: Place) -> None:
    code = """
GalleryStore(place).add([new("one", image=b"1"), new("two", "b", image=b"2")], MODEL)
ready()
time.sleep(600)
"""
    with process(code, place) as running:
        running.kill()
        running.wait()

    store = GalleryStore(place)
    assert store.version() == 1
    assert ids(store) == ["one", "two"]
    assert store.image("two") == (b"2", "image/png")
    store.close()


# Each of these stands still in the middle of its transaction, with the first of two changes made. The
# pauses sit in what the store is given: it reads them only once the changes before have been executed.
MIDDLES = {
    "add": """
class Pause(dict):
    def items(self):
        ready()
        time.sleep(600)

store.add([new("three"), new("four", metadata=Pause(key="value"))], MODEL)
""",
    "replace": """
class Pause(dict):
    def items(self):
        ready()
        time.sleep(600)

store.add([new("one", "z", image=b"other"), new("two", metadata=Pause(key="value"))], MODEL)
""",
    "delete": """
class Pause(list):
    def __iter__(self):
        yield self[0]
        ready()
        time.sleep(600)

store.delete(Pause(["one", "two"]))
""",
    "set_vectors": """
class Pause(dict):
    checked = False  # every vector is looked at once before the change begins

    def items(self):
        yield "one", new("one", vector=(0, 1)).vector
        if self.checked:
            ready()
            time.sleep(600)
        self.checked = True

store.set_vectors(Pause(), MODEL)
""",
}


@pytest.mark.parametrize("change", MIDDLES)
def test_a_process_killed_in_the_middle_of_a_change_leaves_the_old_version(
    change: str, place: Place, store: GalleryStore
) -> None:
    store.add([new("one"), new("two")], MODEL)
    before = loaded(store, MODEL)

    with process("store = GalleryStore(place)\n" + MIDDLES[change], place) as running:
        assert _same(loaded(store, MODEL), before), "a reader saw an unfinished change"
        assert _is_locked(place), "the process is not in the middle of anything"
        running.kill()
        running.wait()

    assert _same(loaded(store, MODEL), before)
    assert store.image("one") == (b"an image", "image/png")
    reopened = GalleryStore(place)
    assert _same(loaded(reopened, MODEL), before)
    assert reopened.add([new("three")], MODEL) == before[0] + 1, "the lock of the killed process is left"
    assert ids(store) == ["one", "two", "three"]
    reopened.close()


def test_whoever_waits_for_a_long_change_is_told_and_goes_on_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restore is: those who wait do so at once, not one after the other."""
    for module in ("index.sqlite_database", "index.postgres"):
        monkeypatch.setattr(f"{module}.BUSY_SECONDS", 0.5)
    monkeypatch.setattr("index.postgres._SETTINGS", postgres._SETTINGS.replace(b"'30s'", b"'500ms'"))
    holder, store = GalleryStore(place), GalleryStore(place)
    held = holder.transaction()
    held.__enter__()
    with ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        waiting = [pool.submit(store.add, [new(f"{number}")], MODEL) for number in range(8)]
        for each in waiting:
            with pytest.raises(StoreBusy, match="by a restore: nothing of this change was stored; try again"):
                each.result(timeout=30)
        assert time.monotonic() - started < 3
    held.__exit__(None, None, None)
    assert store.add([new("one")], MODEL) == 1
    assert store.ids() == ["one"]
    for opened in (holder, store):
        opened.close()


def _is_locked(place: Place) -> bool:
    """Whether somebody holds the write lock."""
    if isinstance(place, SharedGallery):
        with psycopg.connect(place.url) as db:
            try:
                db.execute("SELECT version FROM retrievalguard.gallery FOR UPDATE NOWAIT")
            except psycopg.errors.LockNotAvailable:
                return True
        return False
    database = sqlite3.connect(place, timeout=0, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    finally:
        database.close()
    return False


def _same(one: Any, other: Any) -> bool:
    return one[:2] == other[:2] and all(map(np.array_equal, one[2], other[2]))


def test_a_process_killed_while_it_writes_without_pause_leaves_whole_changes(place: Place) -> None:
    code = """
store = GalleryStore(place)
for change in range(100000):
    store.add([new(f"{change}-{part}", image=bytes(3000)) for part in range(3)], MODEL)
    if change == 5:
        ready()
"""
    seen = 0
    for _ in range(3):
        with process(code, place) as running:
            running.kill()
            running.wait()
        store = GalleryStore(place)
        version, items, vectors = loaded(store, MODEL)
        store.close()
        assert version >= seen + 6
        assert len(items) == len(vectors) == len({item.id for item in items})
        assert len(items) % 3 == 0
        seen = version
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_file_alone_is_the_gallery_once_it_is_closed(tmp_path: Path) -> None:
    place = tmp_path / "gallery.sqlite3"
    store = GalleryStore(place)
    store.add([new("one")], MODEL)
    store.close()
    shutil.copy(place, tmp_path / "copy.sqlite3")

    copied = GalleryStore(tmp_path / "copy.sqlite3")

    assert ids(copied) == ["one"]
    copied.close()


FULL = """
import resource, signal
store = GalleryStore(place)
store.add([new("one")], MODEL)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, unlimited))
try:
    store.add([new("two"), new("huge", image=bytes(20_000_000))], MODEL)
except Exception as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
print(store.version(), [item.id for item in loaded(store, MODEL)[1]])
print(store.add([new("three")], MODEL), [item.id for item in loaded(store, MODEL)[1]])
"""


@pytest.fixture(scope="module")
def on_a_full_disk(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a process prints whose file cannot grow: the error, then the gallery, then after it can again."""
    path = tmp_path_factory.mktemp("full") / "gallery.sqlite3"
    command = [sys.executable, "-c", PRELUDE + FULL, str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


def test_a_full_disk_leaves_the_old_version_and_the_next_change_works(on_a_full_disk: list[str]) -> None:
    assert on_a_full_disk[1:] == ["1 ['one']", "2 ['one', 'three']"]


def test_a_full_disk_is_named_in_the_error(on_a_full_disk: list[str]) -> None:
    assert "rollback" not in on_a_full_disk[0]


# --- versions


def test_a_gallery_that_was_never_written_has_version_0(tmp_path: Path) -> None:
    store = GalleryStore(tmp_path / "not" / "yet" / "there" / "gallery.sqlite3")

    assert store.version() == 0
    assert loaded(store, MODEL) == (0, [], [])
    store.close()


def test_every_change_adds_one_to_the_version_and_reading_none(store: GalleryStore) -> None:
    vector = np.ones(2, np.float32)
    changes: list[Callable[[], int]] = [
        lambda: store.add([new("one"), new("two"), new("three")], MODEL),
        lambda: store.add([new("one", "b")], MODEL),
        lambda: store.set_vectors({"one": vector, "two": vector}, "another model"),
        lambda: store.delete(["one", "three"]),
        lambda: store.delete(["two"]),
    ]
    for expected, change in enumerate(changes, start=1):
        assert change() == expected
        loaded(store, MODEL)
        store.without_vector(MODEL)
        assert store.version() == expected


def test_opening_again_changes_nothing(place: Place, store: GalleryStore) -> None:
    store.add([new("one")], MODEL)

    again = GalleryStore(place)

    assert _same(loaded(again, MODEL), loaded(store, MODEL))
    again.close()


# --- all or none


def test_a_delete_with_one_unknown_id_deletes_nothing(store: GalleryStore) -> None:
    store.add([new("one"), new("two")], MODEL)
    before = loaded(store, MODEL)

    with pytest.raises(GalleryError, match=r"no item 'three'"):
        store.delete(["one", "three", "two"])

    assert _same(loaded(store, MODEL), before)
    assert store.delete(["one", "two"]) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_add_with_one_vector_that_is_not_finite_adds_nothing(bad: float, store: GalleryStore) -> None:
    store.add([new("one")], MODEL)
    before = loaded(store, MODEL)

    with pytest.raises(GalleryError, match=r"item 'three' is not finite: it was not stored"):
        store.add([new("two"), new("one", "b"), new("three", vector=(0.5, bad))], MODEL)

    assert _same(loaded(store, MODEL), before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_cannot_be_set_either(bad: float, store: GalleryStore) -> None:
    store.add([new("one")], MODEL)

    with pytest.raises(GalleryError, match="not finite"):
        store.set_vectors({"one": np.array([0.5, bad], np.float32)}, MODEL)


def test_an_add_with_metadata_that_is_not_json_adds_nothing(store: GalleryStore) -> None:
    with pytest.raises(GalleryError, match="not JSON serializable"):
        store.add([new("one"), new("two", metadata={"key": object()})], MODEL)

    assert loaded(store, MODEL) == (0, [], [])
    assert store.add([new("one")], MODEL) == 1


# --- contents


def test_an_id_that_is_there_is_replaced(store: GalleryStore) -> None:
    store.add([new("one", image=b"old", metadata={"old": 1}), new("two")], MODEL)
    store.set_vectors({"one": np.zeros(2, np.float32)}, "another model")

    store.add([new("one", "b", (1, 0), {"new": 2}, b"new", "image/webp")], MODEL)

    assert store.item("one") == Item("one", "b", {"new": 2})
    assert store.image("one") == (b"new", "image/webp")
    _, items, vectors = loaded(store, MODEL)
    assert {item.id: vector.tolist() for item, vector in zip(items, vectors, strict=True)} == {
        "one": [1, 0],
        "two": [np.float32(0.6), np.float32(0.8)],
    }
    # The other model's vector was of the old image.
    assert ids(store, "another model") == []
    assert store.without_vector("another model") == ["two", "one"]


def test_the_last_of_two_items_with_one_id_stays(store: GalleryStore) -> None:
    store.add([new("one", "a"), new("one", "b")], MODEL)

    assert loaded(store, MODEL)[1] == [Item("one", "b")]


@pytest.mark.parametrize(
    "image", [b"", bytes(range(256)) * 3, b"\0", np.random.default_rng(0).bytes(300_000)]
)
def test_an_image_comes_back_byte_for_byte(image: bytes, place: Place, store: GalleryStore) -> None:
    store.add([new("one", image=image, media_type="image/jpeg")], MODEL)

    again = GalleryStore(place)
    assert again.image("one") == (image, "image/jpeg")
    again.close()


@pytest.mark.parametrize("read", [GalleryStore.item, GalleryStore.image])
def test_an_unknown_id_is_named(read: Callable[[GalleryStore, str], object], store: GalleryStore) -> None:
    store.add([new("one")], MODEL)

    for unknown in ("ONE", "one ", "", "on%"):
        with pytest.raises(GalleryError, match=f"no item '{unknown}'"):
            read(store, unknown)


def test_vectors_come_back_bit_for_bit(store: GalleryStore) -> None:
    extremes = np.array([1e-45, -0.0, 3.4e38, -1.17e-38, 1 + 2**-23, 1 / 3], np.float32)
    store.add([new("one", vector=extremes)], MODEL)

    (vector,) = loaded(store, MODEL)[2]

    assert vector.tobytes() == extremes.tobytes()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryStore]:
    path = tmp_path_factory.mktemp("shared") / "gallery.sqlite3"
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    store = GalleryStore(path if server is None else SharedGallery(server.database(), path))
    yield store
    store.close()


@given(metadata=st.dictionaries(st.text(max_size=10), Json, max_size=4))
@settings(deadline=None, max_examples=40)
def test_any_json_metadata_comes_back(metadata: dict[str, Any], shared: GalleryStore) -> None:
    shared.add([new("one", metadata=metadata)], MODEL)

    assert shared.item("one").metadata == metadata
    assert json.dumps(loaded(shared, MODEL)[1][-1].metadata) == json.dumps(metadata)


@given(names=st.lists(st.text(max_size=12), min_size=1, max_size=4, unique=True), label=st.text(max_size=12))
@settings(deadline=None, max_examples=40)
def test_any_text_is_an_id_and_a_label(names: list[str], label: str, shared: GalleryStore) -> None:
    shared.delete(ids(shared))
    shared.add([new(name, label, image=name.encode()) for name in names], MODEL)

    assert loaded(shared, MODEL)[1] == [Item(name, label) for name in names]
    for name in names:
        assert shared.item(name) == Item(name, label)
        assert shared.image(name)[0] == name.encode()
    shared.delete(names[:1])
    assert ids(shared) == names[1:]


@pytest.mark.parametrize(
    "id_",
    [
        "a/b/c.png",
        "../up",
        "été/猫🐈.png",
        "it's",
        'say "hi"',
        "'; DROP TABLE items; --",
        "%_*?",
        " ",
        "a\nb",
    ],
)
def test_an_id_with_slashes_quotes_or_unicode_is_an_id(id_: str, store: GalleryStore) -> None:
    store.add([new("other"), new(id_, "b", metadata={"id": id_}, image=b"its own")], MODEL)

    assert store.item(id_) == Item(id_, "b", {"id": id_})
    assert store.image(id_)[0] == b"its own"
    store.delete([id_])
    assert ids(store) == ["other"]


def test_items_come_in_the_order_of_addition(store: GalleryStore) -> None:
    store.add([new("z"), new("a")], MODEL)
    store.add([new("m")], MODEL)
    store.delete(["m"])
    store.add([new("b")], MODEL)

    assert ids(store) == ["z", "a", "b"]


# --- models


def test_vectors_of_two_models_are_kept_apart(store: GalleryStore) -> None:
    store.add([new("one", vector=(1, 0)), new("two", vector=(0, 1))], "first")
    store.set_vectors({"two": np.array([1, 2, 3], np.float32)}, "second")
    store.add([new("three", vector=(4, 5, 6))], "second")

    assert {
        name: (ids(store, name), store.without_vector(name)) for name in ("first", "second", "third")
    } == {
        "first": (["one", "two"], ["three"]),
        "second": (["two", "three"], ["one"]),
        "third": ([], ["one", "two", "three"]),
    }
    assert [vector.tolist() for vector in loaded(store, "first")[2]] == [[1, 0], [0, 1]]
    assert [vector.tolist() for vector in loaded(store, "second")[2]] == [[1, 2, 3], [4, 5, 6]]


def test_setting_a_vector_again_replaces_it_and_unknown_ids_are_passed_over(store: GalleryStore) -> None:
    store.add([new("one", vector=(1, 0))], MODEL)

    store.set_vectors({"one": np.array([0, 1], np.float32), "gone": np.ones(2, np.float32)}, MODEL)

    version, items, vectors = loaded(store, MODEL)
    assert (version, items) == (2, [Item("one", "a")])
    assert vectors[0].tolist() == [0, 1]


# --- at once


def test_two_processes_write_at_once_and_nothing_is_lost(place: Place, store: GalleryStore) -> None:
    code = """
store = GalleryStore(place)
ready()
name = time.time_ns()
for number in range(40):
    store.add([new(f"{name}-{number}")], MODEL)
"""
    with process(code, place) as one, process(code, place) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)

    version, items, vectors = loaded(store, MODEL)
    assert (version, len(items), len(vectors)) == (80, 80, 80)


def test_a_load_is_one_consistent_view_while_another_process_writes(
    place: Place, store: GalleryStore
) -> None:
    # Label and vectors of both items name the version that wrote them.
    code = """
store = GalleryStore(place)
ready()
for n in until_told():
    store.add([new("low", str(n), (n, 0)), new("high", str(n), (n, 1))], MODEL)
"""
    seen = set[int]()
    with process(code, place) as running:
        deadline = time.monotonic() + 30
        while len(seen) < 20 and time.monotonic() < deadline:
            version, items, vectors = loaded(store, MODEL)
            seen.add(version)
            if version:
                assert items == [Item("low", str(version)), Item("high", str(version))]
                assert [vector.tolist() for vector in vectors] == [[version, 0], [version, 1]]
        enough(place)
        assert running.wait(60) == 0

    assert len(seen) >= 20, "the reader never met the writer"


def test_threads_share_a_store(store: GalleryStore) -> None:
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(15):
                store.add([new(f"{thread}-{number}"), new(f"{thread}-{number}-b")], MODEL)
                version, items, _ = loaded(store, MODEL)
                assert len(items) == 2 * version
                assert store.item(f"{thread}-{number}").id == f"{thread}-{number}"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert (store.version(), len(ids(store))) == (60, 120)
