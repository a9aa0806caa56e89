"""The gallery in use: snapshots that never change, and changes that every process sees."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from index import Gallery, GalleryError, GalleryStore, ItemGone, Place, Snapshot
from index.entries import Stored
from index.history import begin_anew, newest
from index.rows import put_item, put_vector
from tests.index.items import MODEL, beside, enough, new, process


@pytest.fixture
def gallery(place: Place) -> Iterator[Gallery]:
    opened = Gallery(place, MODEL, 2)
    yield opened
    opened.close()


def within_a_second(gallery: Gallery, version: int) -> Snapshot:
    """The snapshot of a version that another process made: of a file at once, of a server within a second."""
    deadline = time.monotonic() + (1 if gallery.store.shared else 0)
    while (snapshot := gallery.snapshot()).version != version and time.monotonic() < deadline:
        time.sleep(0.01)
    return snapshot


def ids(snapshot: Snapshot) -> list[str]:
    return [item.id for item in snapshot.items]


def nearest(snapshot: Snapshot, *point: float) -> str:
    row = int(snapshot.nearest(np.array(point), 1).rows[0])
    return str(snapshot.items[row].id)


def test_a_new_gallery_is_empty(gallery: Gallery) -> None:
    snapshot = gallery.snapshot()

    assert (snapshot.version, len(snapshot), snapshot.vectors.shape) == (0, 0, (0, 2))
    assert gallery.missing() == []


def test_what_is_added_is_found(gallery: Gallery) -> None:
    version = gallery.add([new("right", vector=(1, 0)), new("up", "b", (0, 1))])

    snapshot = gallery.snapshot()

    assert (version, snapshot.version, ids(snapshot)) == (1, 1, ["right", "up"])
    assert (nearest(snapshot, 0.9, 0.2), nearest(snapshot, 0.2, 0.9)) == ("right", "up")


CHANGES: dict[str, Callable[[Gallery], int]] = {
    "add": lambda gallery: gallery.add([new("near", vector=(0.9, 0.1))]),
    "replace": lambda gallery: gallery.add([new("right", "c", (0, 1)), new("up", "c", (1, 0))]),
    "delete": lambda gallery: gallery.store.delete(["right"]),
    "set_vectors": lambda gallery: gallery.set_vectors({"right": np.array([0, 1], np.float32)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_old_snapshot_keeps_answering_as_before(change: str, gallery: Gallery) -> None:
    gallery.add([new("right", vector=(1, 0)), new("up", "b", (0, 1))])
    old = gallery.snapshot()
    vectors = old.vectors.copy()

    CHANGES[change](gallery)
    changed = gallery.snapshot()

    assert changed is not old
    assert (old.version, changed.version) == (1, 2)
    assert old.nearest(np.array([0.9, 0.1]), 1).rows.tolist() == [0]
    assert np.array_equal(old.vectors, vectors)
    if change in ("add", "set_vectors"):
        assert (old.items[0].label, ids(old)) == ("a", ["right", "up"])
    else:
        with pytest.raises(ItemGone):
            _ = old.items[0]
    if change == "set_vectors":
        assert changed.vectors[0].tolist() == [0, 1]
    else:
        assert nearest(changed, 0.9, 0.1) != "right"


def test_a_snapshot_is_loaded_once_for_each_version(gallery: Gallery) -> None:
    gallery.add([new("one")])
    snapshot = gallery.snapshot()

    assert gallery.snapshot() is snapshot
    gallery.add([new("two")])
    assert gallery.snapshot() is not snapshot


@pytest.mark.parametrize("refused", ["add", "delete"])
def test_a_refused_change_leaves_the_snapshot(refused: str, gallery: Gallery) -> None:
    gallery.add([new("one")])
    snapshot = gallery.snapshot()

    with pytest.raises(GalleryError):
        _ = (
            gallery.add([new("two", vector=(np.nan, 0))])
            if refused == "add"
            else gallery.store.delete(["two"])
        )

    assert gallery.snapshot() is snapshot


def test_a_change_by_another_gallery_on_the_file_is_seen(place: Place, gallery: Gallery) -> None:
    other = Gallery(place, MODEL, 2)

    other.add([new("one")])
    assert ids(within_a_second(gallery, 1)) == ["one"]
    gallery.store.delete(["one"])
    assert ids(within_a_second(other, 2)) == []
    assert other.snapshot().version == gallery.snapshot().version == 2
    other.close()


def test_a_change_by_another_process_is_seen(place: Place, gallery: Gallery) -> None:
    gallery.add([new("one")])
    assert ids(gallery.snapshot()) == ["one"]

    with process("Gallery(place, MODEL, 2).add([new('two')])\nready()\ntime.sleep(600)", place):
        assert ids(within_a_second(gallery, 2)) == ["one", "two"]


# --- models


def test_vectors_of_another_model_are_not_searched_but_listed_as_missing(
    place: Place, gallery: Gallery
) -> None:
    gallery.add([new("one", vector=(1, 0)), new("two", vector=(0, 1))])
    other = Gallery(place, "another model", 3)
    other.add([new("three", vector=(1, 2, 3))])

    assert (ids(gallery.snapshot()), gallery.missing()) == (["one", "two"], ["three"])
    assert (ids(other.snapshot()), other.missing()) == (["three"], ["one", "two"])
    assert other.snapshot().vectors.tolist() == [[1, 2, 3]]
    other.close()


def test_items_are_searched_once_their_vectors_are_set(place: Place, gallery: Gallery) -> None:
    gallery.add([new("one"), new("two")])
    other = Gallery(place, "another model", 3)
    before = other.snapshot()
    vectors = {id_: np.eye(3, dtype=np.float32)[row] for row, id_ in enumerate(other.missing())}

    assert other.set_vectors(vectors) == 2

    assert other.missing() == []
    assert len(before) == 0
    assert (ids(other.snapshot()), other.snapshot().vectors.tolist()) == (
        ["one", "two"],
        [[1, 0, 0], [0, 1, 0]],
    )
    assert ids(gallery.snapshot()) == ["one", "two"]
    assert gallery.snapshot().vectors.shape == (2, 2)
    other.close()


def test_a_replaced_item_has_to_be_embedded_again_by_the_other_model(place: Place, gallery: Gallery) -> None:
    gallery.add([new("one")])
    other = Gallery(place, "another model", 2)
    other.set_vectors({"one": np.ones(2, np.float32)})

    gallery.add([new("one", image=b"another image")])

    assert (len(other.snapshot()), other.missing()) == (0, ["one"])
    other.close()


# --- refusals


@pytest.mark.parametrize("vector", [(1, 0, 0), (1,), (), ((1, 0),), 1.0], ids=str)
def test_a_vector_of_another_dimension_is_refused(vector: object, gallery: Gallery) -> None:
    gallery.add([new("one")])

    with pytest.raises(GalleryError, match="holds vectors of 2 numbers"):
        gallery.add([new("two"), new("three", vector=vector)])
    with pytest.raises(GalleryError, match="holds vectors of 2 numbers"):
        gallery.set_vectors({"one": np.array(vector, np.float32)})

    snapshot = gallery.snapshot()
    assert (snapshot.version, ids(snapshot)) == (1, ["one"])


# --- at once


def test_readers_see_whole_versions_while_another_process_writes(place: Place, gallery: Gallery) -> None:
    code = """
store = GalleryStore(place)
ready()
for n in until_told():
    store.add([new(f"{n}-{part}", vector=(n, part)) for part in range(2)], MODEL)
"""
    failures: list[BaseException] = []
    versions: list[list[int]] = [[], [], []]

    def read(seen: list[int], done: threading.Event) -> None:
        try:
            while not done.is_set():
                snapshot = gallery.snapshot()
                seen.append(snapshot.version)
                assert len(snapshot) == len(snapshot.vectors) == 2 * snapshot.version
                if len(snapshot):
                    last = snapshot.items[-1].id
                    assert last == f"{snapshot.version}-1"
                    assert nearest(snapshot, snapshot.version, 1) == last
        except BaseException as error:
            failures.append(error)

    done = threading.Event()
    threads = [threading.Thread(target=read, args=(seen, done)) for seen in versions]
    with process(code, place) as running:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while min(len(set(seen)) for seen in versions) < 5 and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
        enough(place)
        assert running.wait(60) == 0
    done.set()
    for thread in threads:
        thread.join()

    assert failures == []
    for seen in versions:
        assert seen == sorted(seen), "a version went back"
        assert len(set(seen)) >= 5
    assert len(gallery.snapshot()) == 2 * gallery.snapshot().version


def test_closing_closes_the_file(place: Place) -> None:
    gallery = Gallery(place, MODEL, 2)
    gallery.add([new("one")])
    gallery.close()

    assert list(beside(place).parent.glob("*-wal")) == [], "a connection is still open"
    store = GalleryStore(place)
    assert store.version() == 1
    store.close()


def test_a_gallery_that_cannot_be_read_again_is_not_taken_for_read(
    place: Place, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of what is served and of what is read next never share a number: they would be no rivals."""
    gallery.add([new(f"ant {number}", "ant", (1, 0.1 * number)) for number in range(3)])
    before = gallery.snapshot()
    with gallery.store.transaction() as db:
        begin_anew(db, 1 + newest(db).number)  # what a restored snapshot does

    def fail(*_: object) -> Iterator[Stored]:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("index.reading.read_stored", fail)
        for _ in range(2):
            with pytest.raises(MemoryError):
                gallery.snapshot()
    gallery.add([new("zebra", "zebra", (1, 0.15))])
    after, fresh = gallery.snapshot(), Gallery(place, MODEL, 2)

    assert ids(before) == ["ant 0", "ant 1", "ant 2"]
    assert after.digest == fresh.snapshot().digest
    zebra = after.label(ids(after).index("zebra"))
    assert after.of_others(zebra).sum() == 3
    fresh.close()


def test_what_an_older_program_wrote_is_seen_though_it_kept_no_history(gallery: Gallery) -> None:
    gallery.add([new("right", vector=(1, 0))])
    gallery.snapshot()
    old = new("up", "b", (0, 1))
    with gallery.store.transaction() as db:
        row, image, _ = put_item(db, old.item, old.image, old.media_type)
        put_vector(db, row, "up", image, MODEL, np.asarray(old.vector, "<f4").tobytes())
        db.execute("UPDATE gallery SET version = version + 1")
    gallery.add([new("left", vector=(-1, 0))])

    assert ids(gallery.snapshot()) == ["right", "up", "left"]
