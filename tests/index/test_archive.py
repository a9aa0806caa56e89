"""Exports: whole while the gallery changes, checked before they are read, all or nothing."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from index import (
    ArchiveDamaged,
    Gallery,
    GalleryError,
    GalleryStore,
    StoreFailure,
    delete_name,
    export_gallery,
    import_gallery,
    names,
    prepared,
    put_name,
    replace_all,
)
from index.checksums import image_checksum, item_checksum
from index.items import Texts
from index.schema import WITH_NAMES
from tests.index.filtering import filter_of
from tests.index.items import MODEL, enough, loaded, new, process
from tests.index.old import old_file


def filled(path: Path, count: int = 40) -> GalleryStore:
    store = GalleryStore(path / "gallery.sqlite3")
    store.add(
        [new(f"item {number}", image=os.urandom(2000), metadata={"n": number}) for number in range(count)],
        MODEL,
    )
    return store


def test_what_is_imported_is_what_was_exported(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    assert export_gallery(one, tmp_path / "archive").items == 40
    assert import_gallery(two, tmp_path / "archive") == 40
    (_, items, vectors), (_, copied, copied_vectors) = loaded(one, MODEL), loaded(two, MODEL)
    assert items == copied
    assert [v.tobytes() for v in vectors] == [v.tobytes() for v in copied_vectors]
    assert all(one.image(item.id) == two.image(item.id) for item in items)
    assert two.version() > one.version()
    two.add([new("another")], MODEL)  # rows go on where they ended
    assert two.ids()[-1] == "another"


FILTERS = {"cats": '{"label":"cat"}', "shop-7": '{"metadata.shop":7}'}


def named_store(path: Path, filters: dict[str, str]) -> GalleryStore:
    store = filled(path, 3)
    for name, text in filters.items():
        put_name(store, name, filter_of(json.loads(text)).text, 10)
    return store


def test_names_are_in_an_export_and_come_back(tmp_path: Path) -> None:
    one, two = named_store(tmp_path / "one", FILTERS), GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    put_name(two, "cats", names(one)["cats"], 10)
    put_name(two, "mine", "{}", 10)
    export_gallery(one, tmp_path / "archive")
    assert import_gallery(two, tmp_path / "archive") == 3
    assert names(two) == names(one) | {"mine": "{}"}


def test_a_name_of_another_filter_is_not_overwritten_by_an_import(tmp_path: Path) -> None:
    one, two = named_store(tmp_path / "one", FILTERS), GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    put_name(two, "cats", "{}", 10)
    export_gallery(one, tmp_path / "archive")
    with pytest.raises(GalleryError, match="has another gallery 'cats': take that name away first"):
        import_gallery(two, tmp_path / "archive")
    assert (names(two), two.ids()) == ({"cats": "{}"}, [])


def test_restoring_brings_back_the_names_of_that_time(tmp_path: Path) -> None:
    store = named_store(tmp_path / "one", FILTERS)
    expected = names(store)
    export_gallery(store, tmp_path / "archive")
    delete_name(store, "cats")
    put_name(store, "new", "{}", 10)
    with prepared(store, tmp_path / "archive") as (path, with_names):
        replace_all(store, path, with_names=with_names)
    assert names(store) == expected


def test_an_export_of_before_there_were_names_in_it_leaves_those_that_are_there(tmp_path: Path) -> None:
    store = named_store(tmp_path / "one", FILTERS)
    expected = names(store)
    export_gallery(store, tmp_path / "archive")
    with closing(sqlite3.connect(tmp_path / "archive")) as db, db:
        db.execute("DELETE FROM named")
        db.execute(f"PRAGMA user_version = {WITH_NAMES - 1}")
    with prepared(store, tmp_path / "archive") as (path, with_names):
        assert not with_names
        assert replace_all(store, path, with_names=with_names)[1] == 3
    assert names(store) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("default", "{}"), ("../x", "{}"), ("x" * 101, "{}"), (b"\xff", "{}"), ("a", "{"), ("a", "[]"),
        ("a", '{"price":1}'), ("a", '{ "label": "b"}'), ("a", b"\xff"), ("a", 1), ("a", "[" * 100_000),
    ],
)  # fmt: skip
def test_what_is_no_name_or_no_filter_is_in_no_export_and_read_from_none(
    tmp_path: Path, name: object, text: object
) -> None:
    store, other = named_store(tmp_path / "one", {}), GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    export_gallery(store, tmp_path / "archive")
    for file in (store.path, tmp_path / "archive"):
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("INSERT INTO named VALUES (?, ?)", (name, text))
    with pytest.raises(ArchiveDamaged, match=r"the filter of .* is not what was stored"):
        import_gallery(other, tmp_path / "archive")
    assert len(export_gallery(store, tmp_path / "again").damaged_names) == 1
    assert import_gallery(other, tmp_path / "again") == 3
    assert names(other) == {}


def test_an_export_is_one_file_of_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        export_gallery(filled(tmp_path / "one"), tmp_path / "archive")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive", "one"]


def test_a_copy_of_the_file_alone_is_no_backup(tmp_path: Path) -> None:
    """The control: it lacks what an export has."""
    store = filled(tmp_path / "one")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "gallery.sqlite3").write_bytes((tmp_path / "one" / "gallery.sqlite3").read_bytes())
    assert len(GalleryStore(tmp_path / "copy" / "gallery.sqlite3").ids()) < len(store.ids())


ADDING = """
gallery = GalleryStore(path)
ready()
for number in until_told():
    gallery.add([new(f"{number} a"), new(f"{number} b")], MODEL)
"""


def test_an_export_under_constant_change_is_one_version(tmp_path: Path) -> None:
    path = tmp_path / "one" / "gallery.sqlite3"
    store = filled(tmp_path / "one", 2)
    with process(ADDING, path):
        for number in range(5):
            time.sleep(0.1)
            export_gallery(store, tmp_path / f"archive {number}")
        enough(path)
    sizes = []
    for number in range(5):
        copy = GalleryStore(tmp_path / f"copy {number}" / "gallery.sqlite3")
        sizes.append(import_gallery(copy, tmp_path / f"archive {number}"))
        version, items, _ = loaded(copy, MODEL)
        assert len(items) == 2 + 2 * (version - 2)  # two items a version, and the import is one more
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_a_file_that_is_there_is_overwritten_only_when_told_to(tmp_path: Path) -> None:
    store = filled(tmp_path / "one", 1)
    (tmp_path / "archive").write_text("precious")
    with pytest.raises(GalleryError, match="is there already"):
        export_gallery(store, tmp_path / "archive")
    assert (tmp_path / "archive").read_text() == "precious"
    export_gallery(store, tmp_path / "archive", overwrite=True)
    assert import_gallery(GalleryStore(tmp_path / "two" / "gallery.sqlite3"), tmp_path / "archive") == 1


def test_a_gallery_with_items_is_not_imported_into(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", 3), filled(tmp_path / "two", 1)
    export_gallery(one, tmp_path / "archive")
    with pytest.raises(GalleryError, match="has 1 items: import into an empty one"):
        import_gallery(two, tmp_path / "archive")
    assert two.ids() == ["item 0"]
    two.delete(["item 0"])
    assert import_gallery(two, tmp_path / "archive") == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET label = 'b' WHERE id = 'item 7'",
        "UPDATE items SET image = x'00' WHERE id = 'item 7'",
        "UPDATE vectors SET vector = x'0000803f00000000' WHERE row = 7",
        "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
        "CREATE VIEW v AS SELECT * FROM items",
        "ALTER TABLE items ADD COLUMN more TEXT",
        "ALTER TABLE items ADD COLUMN more TEXT AS (upper(label))",
        "CREATE INDEX more ON items (upper(label))",
        "CREATE TABLE more (content BLOB)",
        "DROP TABLE vectors",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 3",
    ],
)
def test_an_archive_that_was_changed_is_refused_and_nothing_is_read(statement: str, tmp_path: Path) -> None:
    export_gallery(filled(tmp_path / "one"), tmp_path / "archive")
    with closing(sqlite3.connect(tmp_path / "archive")) as db:
        db.execute(statement)
        db.commit()
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    with pytest.raises((ArchiveDamaged, StoreFailure)) as error:
        import_gallery(two, tmp_path / "archive")
    assert str(tmp_path / "archive") in str(error.value)
    assert two.ids() == []
    assert two.version() == 0
    assert [file.name for file in (tmp_path / "two").iterdir() if "import" in file.name] == []


@pytest.mark.parametrize("content", [b"", b"no database\n" * 500, None])
def test_what_is_no_archive_is_refused(content: bytes | None, tmp_path: Path) -> None:
    export_gallery(filled(tmp_path / "one"), tmp_path / "archive")
    cut = (tmp_path / "archive").read_bytes()[:20_000] if content is None else content
    (tmp_path / "archive").write_bytes(cut)
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    with pytest.raises(GalleryError):
        import_gallery(two, tmp_path / "archive")
    assert two.ids() == []


def test_an_archive_of_an_older_layout_can_be_imported(tmp_path: Path) -> None:
    with closing(sqlite3.connect(old_file(tmp_path / "old"))) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "archive"),))
    assert import_gallery(GalleryStore(tmp_path / "two" / "gallery.sqlite3"), tmp_path / "archive") == 3


def test_a_copy_of_a_gallery_file_is_not_taken_for_an_export(tmp_path: Path) -> None:
    store = filled(tmp_path / "one", 3)
    with store.reading() as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.add([new("the newest")], MODEL)  # in the log alone
    shutil.copy(store.path, tmp_path / "copy")
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    with pytest.raises(ArchiveDamaged, match="a copy of a gallery file, not an export"):
        import_gallery(two, tmp_path / "copy")
    assert two.version() == 0


def test_a_damaged_item_is_named_and_the_rest_can_be_restored(tmp_path: Path) -> None:
    store = filled(tmp_path / "one", 5)
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("UPDATE items SET label = 'b' WHERE id = 'item 1'")
        db.execute("UPDATE items SET image = x'00' WHERE id = 'item 2'")
        db.execute("UPDATE vectors SET vector = x'0000803f00000000' WHERE row = 5")
        db.commit()
    done = export_gallery(store, tmp_path / "archive")
    assert (done.items, done.damaged, done.damaged_vectors) == (3, ("item 1", "item 2"), 1)
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    assert import_gallery(two, tmp_path / "archive") == 3
    assert two.ids() == ["item 0", "item 3", "item 4"]
    assert two.load(MODEL).unembedded == ("item 4",)
    assert two.image("item 4") == store.image("item 4")


@pytest.mark.parametrize(
    ("metadata", "media_type"),
    [
        ("{}", "text/html"),
        ("{}", "image/svg+xml"),
        ('{"a": NaN}', "image/png"),
        ('{"a": 1e999}', "image/png"),
        ('{"a": "\\ud800"}', "image/png"),
        ('{"a": ' + "[" * 400 + "]" * 400 + "}", "image/png"),
        ("[" * 100_000, "image/png"),
        ("[]", "image/png"),
    ],
)
def test_a_row_with_right_checksums_that_could_not_be_sent_is_refused(
    metadata: str, media_type: str, tmp_path: Path
) -> None:
    export_gallery(filled(tmp_path / "one", 3), tmp_path / "archive")
    with closing(sqlite3.connect(tmp_path / "archive")) as db:
        image = image_checksum(media_type.encode(), b"x")
        item = item_checksum(Texts(b"item 1", b"a", metadata.encode()), image)
        db.execute(
            "UPDATE items SET metadata = ?, media_type = ?, image = ? WHERE id = 'item 1'",
            (metadata, media_type, b"x"),
        )
        db.execute("UPDATE checksums SET image = ?, item = ? WHERE row = 2", (image, item))
        db.execute("DELETE FROM vectors")
        db.commit()
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    with pytest.raises(ArchiveDamaged, match="item 'item 1'"):
        import_gallery(two, tmp_path / "archive")
    assert two.version() == 0


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "archive")
    with pytest.raises(ArchiveDamaged, match="is not a file"):
        import_gallery(GalleryStore(tmp_path / "two" / "gallery.sqlite3"), tmp_path / "archive")


def test_an_export_into_a_folder_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    archive = tmp_path / "no" / "archive"
    with pytest.raises(StoreFailure, match=f"{archive} cannot be used"):
        export_gallery(filled(tmp_path / "one", 1), archive)


EXPORTING = """
from index import export_gallery
store = GalleryStore(path)
ready()
while True:
    export_gallery(store, path.parent.parent / "archive", overwrite=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.11])
def test_an_export_that_is_killed_leaves_the_old_or_the_new(delay: float, tmp_path: Path) -> None:
    store = filled(tmp_path / "one", 200)
    export_gallery(store, tmp_path / "archive")
    store.add([new("another")], MODEL)
    with process(EXPORTING, store.path) as running:
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        running.wait()
    two = GalleryStore(tmp_path / "two" / "gallery.sqlite3")
    assert import_gallery(two, tmp_path / "archive") in (200, 201)


IMPORTING = """
from index import import_gallery
gallery = GalleryStore(path)
ready()
import_gallery(gallery, path.parent.parent / "archive")
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1])
def test_an_import_that_is_killed_leaves_all_or_nothing(delay: float, tmp_path: Path) -> None:
    export_gallery(filled(tmp_path / "one", 400), tmp_path / "archive")
    path = tmp_path / "two" / "gallery.sqlite3"
    path.parent.mkdir()
    with process(IMPORTING, path) as running:
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert len(GalleryStore(path).ids()) in (0, 400)


def test_a_gallery_after_an_import_answers_as_before(tmp_path: Path) -> None:
    export_gallery(filled(tmp_path / "one"), tmp_path / "archive")
    import_gallery(GalleryStore(tmp_path / "two" / "gallery.sqlite3"), tmp_path / "archive")
    digests = {
        Gallery(tmp_path / name / "gallery.sqlite3", MODEL, 2).snapshot().digest for name in ("one", "two")
    }
    assert len(digests) == 1
