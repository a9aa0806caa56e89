"""Exports of a gallery: one file that holds all of it, made while it is in use, checked before it is read.

An archive is a gallery file by itself, in one piece: copying `gallery.sqlite3` would miss what is still in
its write-ahead log. It is taken for hostile: nothing in it is executed, and every row has to check out.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from index.failures import GalleryError, StoreFailure, told
from index.schema import sha256, sound_row, sound_vector, upgrade
from index.store import GalleryStore

_COLUMNS = {
    "gallery": ("version",),
    "items": ("row", "id", "label", "metadata", "image", "media_type", "image_sha256", "checksum"),
    "vectors": ("row", "model", "vector", "checksum"),
}


class ArchiveDamaged(GalleryError):
    """The archive is not what an export wrote; nothing of it was read into the gallery."""


def export_gallery(store: GalleryStore, archive: Path, *, overwrite: bool = False) -> int:
    """Write one consistent version of the gallery to `archive`, and return how many items that are.

    The file is there whole or not at all, and its owner's alone. Raises `StoreFailure`, or `GalleryError` if
    `archive` is there and is not to be overwritten.
    """
    if archive.exists() and not overwrite:
        raise GalleryError(f"{archive} is there already: choose another name, or --overwrite")
    with told(archive), tempfile.TemporaryDirectory(dir=archive.parent, prefix=".gallery-export-") as folder:
        draft = Path(folder) / "archive"
        draft.touch(mode=0o600)
        with closing(sqlite3.connect(store.path, timeout=30)) as db:  # the store's own goes on
            db.execute("VACUUM INTO ?", (str(draft),))
        with closing(sqlite3.connect(draft)) as db:
            count = int(db.execute("SELECT COUNT(*) FROM items").fetchone()[0])
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(archive)
        _sync_folder(archive.parent)
    return count


def import_gallery(store: GalleryStore, archive: Path) -> int:
    """Read all of `archive` into an empty gallery, or nothing, and return how many items that are.

    Raises `ArchiveDamaged`, `StoreFailure`, or `GalleryError` if the gallery has items.
    """
    with tempfile.TemporaryDirectory(dir=store.path.parent, prefix=".gallery-import-") as folder:
        draft = Path(folder) / "archive"
        draft.touch(mode=0o600)
        with told(archive):
            try:
                draft.write_bytes(archive.read_bytes())
            except OSError as error:
                raise StoreFailure(f"{archive} cannot be read: {error.strerror}") from error
        with told(archive), closing(sqlite3.connect(draft, isolation_level=None)) as db:
            _check(db, archive)
        return _copy(store, draft)


def _check(db: sqlite3.Connection, archive: Path) -> None:
    """That the archive is whole, holds data alone, and that every row is what was stored."""
    db.execute("PRAGMA trusted_schema = OFF")
    kinds = {row[0] for row in db.execute("SELECT type FROM sqlite_master")}
    if not kinds <= {"table", "index"}:
        raise ArchiveDamaged(f"{archive} holds triggers or views, which no export does")
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise ArchiveDamaged(f"{archive} is damaged: use another export")
    upgrade(db)
    for table, columns in _COLUMNS.items():
        found = tuple(row[1] for row in db.execute("SELECT * FROM pragma_table_info(?)", (table,)))
        if set(found) != set(columns):
            raise ArchiveDamaged(f"{archive} has other columns in {table!r} than an export has")
    db.text_factory = bytes
    rows = db.execute("SELECT id, label, metadata, media_type, image_sha256, checksum, image FROM items")
    for *row, checksum, image in rows:
        if (
            not sound_row(row[:4], row[4], checksum)
            or not isinstance(image, bytes)
            or sha256(image) != row[4]
        ):
            raise ArchiveDamaged(f"{archive}: item {row[0]!r} is not what was stored; use another export")
    for number, model, vector, checksum in db.execute("SELECT row, model, vector, checksum FROM vectors"):
        if not sound_vector(number, model, vector, checksum):
            raise ArchiveDamaged(f"{archive}: a vector is not what was stored; use another export")


def _copy(store: GalleryStore, draft: Path) -> int:
    """All rows, in one transaction of the gallery that is there."""
    with store.reading() as db:
        db.execute("ATTACH DATABASE ? AS archive", (str(draft),))
    try:
        with store.transaction() as db:
            there = int(db.execute("SELECT COUNT(*) FROM main.items").fetchone()[0])
            if there:
                raise GalleryError(
                    f"the gallery in {store.path} has {there} items: import into an empty one"
                    " (another RETRIEVALGUARD_DATA_DIR), so that nothing is mixed or lost"
                )
            db.execute(
                "INSERT INTO main.items (row, id, label, metadata, image, media_type, image_sha256, checksum)"
                " SELECT row, id, label, metadata, image, media_type, image_sha256, checksum"
                " FROM archive.items"
            )
            db.execute(
                "INSERT INTO main.vectors (row, model, vector, checksum)"
                " SELECT row, model, vector, checksum FROM archive.vectors"
            )
            db.execute(
                "UPDATE main.gallery SET version = 1 + max(version, (SELECT version FROM archive.gallery))"
            )
            return int(db.execute("SELECT COUNT(*) FROM main.items").fetchone()[0])
    finally:
        with store.reading() as db:
            db.execute("DETACH DATABASE archive")


def _sync_folder(folder: Path) -> None:
    """So that the new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
