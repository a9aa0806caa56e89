"""Files of older and newer versions, of other programs, and files that are damaged, locked or full."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index import Gallery, GalleryError, GalleryStore, Item, ItemDamaged, StoreFailure, image_checksum
from index.schema import APPLICATION_ID, STEPS
from tests.index.items import MODEL, loaded, new
from tests.index.old import VECTOR, old_file


def test_a_file_of_the_first_version_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path = old_file(tmp_path / "gallery.sqlite3")
    for _ in range(2):  # the second time there is nothing to do
        store = GalleryStore(path)
        version, items, vectors = loaded(store, MODEL)
        assert version == 3
        assert items == [Item(f"é{number}", "猫", {"n": 1}) for number in range(3)]
        assert all(np.array_equal(vector, VECTOR) for vector in vectors)
        assert store.image("é0") == (b"an image", "image/png")
        store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_an_item_that_an_older_version_stored_and_cannot_be_sent_is_left_out(tmp_path: Path) -> None:
    path = old_file(tmp_path / "gallery.sqlite3")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE items SET metadata = '{\"score\": NaN}' WHERE id = 'é0'")
        db.execute("UPDATE items SET label = CAST(x'63ed' AS TEXT) WHERE id = 'é1'")
        db.commit()
    store = GalleryStore(path)
    found = store.load(MODEL)
    assert [item.id for item in found.items] == ["é2"]
    assert found.damaged == ("é0", "é1")
    store.close()


def test_an_upgrade_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_file(tmp_path / "gallery.sqlite3")

    def fail(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk full in the middle")

    monkeypatch.setattr("index.schema.STEPS", (*STEPS, fail))
    with pytest.raises(StoreFailure):
        GalleryStore(path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert len(db.execute("SELECT * FROM items").fetchone()) == 6
    GalleryStore(path).close()


def refusal(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(StoreFailure) as error:
        GalleryStore(path)
    assert path.read_bytes() == before, "it was touched"
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    GalleryStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    assert "newer version" in refusal(path)


@pytest.mark.parametrize("statement", ["CREATE TABLE music (title TEXT)", "PRAGMA application_id = 7"])
def test_a_database_of_another_program_is_refused(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
    assert "another program" in refusal(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    path.write_bytes(b"a letter to a friend, not a database at all\n" * 40)
    assert "no SQLite file" in refusal(path)


def test_a_file_that_is_damaged_says_to_restore_an_export(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    store = GalleryStore(path)
    store.add([new(f"item {number}", image=os.urandom(3000)) for number in range(50)], MODEL)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 : 20 * 4096] = os.urandom(19 * 4096)
    path.write_bytes(content)
    with pytest.raises(StoreFailure, match="restore it from an export"):
        GalleryStore(path).load(MODEL)


def test_a_locked_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    store = GalleryStore(path)
    with store.transaction() as db:
        db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailure, match="by somebody else for a long time"):
            store.add([new("one")], MODEL)
    store.add([new("one")], MODEL)
    store.close()


def test_a_full_disk_says_so_and_stores_nothing(tmp_path: Path) -> None:
    store = GalleryStore(tmp_path / "gallery.sqlite3")
    store.add([new("one")], MODEL)
    with store.transaction() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreFailure, match="the disk is full"):
        store.add([new("two", image=bytes(100_000))], MODEL)
    assert store.ids() == ["one"]
    store.close()


def test_files_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = GalleryStore(tmp_path / "new" / "gallery.sqlite3")
        store.add([new("one")], MODEL)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
        assert set(modes.values()) == {0o600}
        assert "gallery.sqlite3-wal" in modes
        store.close()
    finally:
        os.umask(before)


# --- rows that are not what was stored


def changed(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement, values)
        db.execute("UPDATE gallery SET version = version + 1")
        db.commit()


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE items SET label = ? WHERE id = 'two'", "b"),
        ("UPDATE items SET metadata = ? WHERE id = 'two'", '{"price": 1}'),
        ("UPDATE checksums SET image = ? WHERE row = 2", b"x" * 32),
        ("UPDATE items SET id = ? WHERE id = 'two'", "zwei"),
        ("UPDATE items SET label = ? WHERE id = 'two'", 7),
        ("UPDATE checksums SET item = ? WHERE row = 2", b""),
        ("DELETE FROM checksums WHERE row = ?", 2),
    ],
)
def test_a_row_that_was_changed_is_left_out_and_told(
    statement: str, value: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2)
    gallery.add([new("one"), new("two"), new("three")])
    before = gallery.snapshot().digest
    changed(tmp_path / "gallery.sqlite3", statement, value)
    snapshot = gallery.snapshot()
    assert [item.id for item in snapshot.items] == ["one", "three"]
    assert snapshot.digest != before
    assert len(gallery.damaged) == 1
    assert gallery.damaged[0] in caplog.text
    gallery.close()


NOT_A_NUMBER = np.array([np.nan, 0.8], "<f4").tobytes()


@pytest.mark.parametrize("vector", [NOT_A_NUMBER, np.array([0.8, 0.6], "<f4").tobytes(), b"", b"x" * 7, 5])
def test_a_vector_that_was_changed_is_never_searched_and_is_embedded_anew(
    vector: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2)
    gallery.add([new("one"), new("two")])
    changed(
        tmp_path / "gallery.sqlite3",
        "UPDATE vectors SET vector = ? WHERE row = (SELECT row FROM items WHERE id = 'two')",
        vector,
    )
    assert [item.id for item in gallery.snapshot().items] == ["one"]
    assert gallery.damaged == ("two",)
    assert "'two'" in caplog.text
    assert gallery.missing() == ["two"]
    gallery.set_vectors({"two": VECTOR})
    assert [item.id for item in gallery.snapshot().items] == ["one", "two"]
    assert gallery.damaged == ()
    gallery.close()


def test_a_vector_moved_to_another_item_is_noticed(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2)
    gallery.add([new("one", vector=(1, 0)), new("two", vector=(0, 1))])
    changed(
        tmp_path / "gallery.sqlite3",
        "UPDATE vectors SET vector = (SELECT vector FROM vectors ORDER BY row LIMIT 1),"
        " checksum = (SELECT checksum FROM vectors ORDER BY row LIMIT 1)",
    )
    assert gallery.missing() == ["two"]
    gallery.close()


def test_a_vector_of_an_image_that_was_replaced_meanwhile_is_not_stored(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2)
    gallery.add([new("one", image=b"old"), new("two")])
    seen = {id_: image_checksum(b"image/png", gallery.store.image(id_)[0]) for id_ in ("one", "two")}
    gallery.add([new("one", image=b"new", vector=(0, 1))])
    gallery.set_vectors({id_: np.array([1, 0], np.float32) for id_ in seen}, seen)
    snapshot = gallery.snapshot()
    found = {item.id: vector.tolist() for item, vector in zip(snapshot.items, snapshot.vectors, strict=True)}
    assert found == {"one": [0, 1], "two": [1, 0]}
    gallery.close()


def test_loading_reads_no_image(tmp_path: Path) -> None:
    """Every page that holds nothing but an image is wiped: SQLite would stumble over it."""
    path = tmp_path / "gallery.sqlite3"
    store = GalleryStore(path)
    store.add([new(f"{number}", image=b"\xab" * 50_000) for number in range(20)], MODEL)
    store.close()
    content, wiped = bytearray(path.read_bytes()), 0
    for page in range(0, len(content), 4096):
        if content[page + 4 : page + 4096] == b"\xab" * 4092:
            content[page : page + 4096] = bytes(4096)
            wiped += 1
    assert wiped > 100
    path.write_bytes(content)
    store = GalleryStore(path)
    assert len(loaded(store, MODEL)[1]) == 20
    with pytest.raises(GalleryError):
        store.image("0")
    store.close()


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a": "\\ud800"}',
        '{"a": 1e999}',
        '{"a": ' + "[" * 400 + "]" * 400 + "}",
        "[" * 100_000,
        "[1]",
        "cut {",
    ],
    ids=["surrogate", "infinite", "deep", "very deep", "a list", "no JSON"],
)
def test_metadata_of_an_older_version_that_would_break_an_answer_is_left_out(
    metadata: str, tmp_path: Path
) -> None:
    path = old_file(tmp_path / "gallery.sqlite3")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE items SET metadata = ? WHERE id = 'é0'", (metadata,))
        db.commit()
    store = GalleryStore(path)
    found = store.load(MODEL)
    assert ([item.id for item in found.items], found.damaged) == (["é1", "é2"], ("é0",))
    with pytest.raises(ItemDamaged):
        store.item("é0")
    store.delete(["é0"])
    assert store.load(MODEL).damaged == ()
    store.close()


def test_a_file_of_an_older_version_becomes_its_owners_alone(tmp_path: Path) -> None:
    path = old_file(tmp_path / "gallery.sqlite3")
    path.chmod(0o644)
    GalleryStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_image_that_was_changed_is_never_handed_out(tmp_path: Path) -> None:
    store = GalleryStore(tmp_path / "gallery.sqlite3")
    store.add([new("one"), new("two")], MODEL)
    changed(tmp_path / "gallery.sqlite3", "UPDATE items SET image = ? WHERE id = 'two'", b"another image")
    assert store.image("one")[0] == b"an image"
    with pytest.raises(Exception, match="changed or damaged"):
        store.image("two")
    store.close()
