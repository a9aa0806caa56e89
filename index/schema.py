"""The layout of a gallery file, and the numbered steps from every older one.

`PRAGMA user_version` is the number of steps that a file has taken, `PRAGMA application_id` says that it is a
gallery at all. All steps of an upgrade are one transaction.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence

# "RGgl": in the header of the file, where `file` and other programs look.
APPLICATION_ID = 0x5247676C

_TABLES = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"

Step = Callable[[sqlite3.Connection], None]


class NotAGallery(Exception):
    """The file is another program's, or of a newer version of this one; it was not touched."""


def sha256(content: bytes) -> bytes:
    """The digest under which an image is known."""
    return hashlib.sha256(content).digest()


def row_checksum(texts: Sequence[bytes], image_sha256: bytes) -> bytes:
    """What an item row is checked against when it is read: its `texts` (id, label, metadata, media type) in
    UTF-8, and its image by digest.
    """
    return _checksum(b"item", *texts, image_sha256)


def vector_checksum(row: int, model: bytes, vector: bytes) -> bytes:
    """What a vector is checked against: its item, its model and its numbers."""
    return _checksum(b"vector", str(row).encode(), model, vector)


def sound_row(texts: Sequence[object], image_sha256: object, checksum: object) -> bool:
    """Whether an item row, its texts read as bytes, is what was stored."""
    try:
        return _checksum(b"item", *texts, image_sha256) == checksum  # type: ignore[arg-type]
    except TypeError:  # a number where a text should be
        return False


def sound_vector(row: int, model: bytes, vector: object, checksum: object) -> bool:
    """Whether a vector is what was stored for this item by this model."""
    return isinstance(vector, bytes) and vector_checksum(row, model, vector) == checksum


def upgrade(db: sqlite3.Connection) -> None:
    """Bring the file to the newest layout; an empty one gets it. Raises `NotAGallery`, or `sqlite3.Error`."""
    if _version(db) == len(STEPS) and _application(db) == APPLICATION_ID:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db)
        tables = {
            row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        }
        if version > len(STEPS) and _application(db) == APPLICATION_ID:
            raise NotAGallery(
                f"was written by a newer version of this program (layout {version}): upgrade it"
            )
        named = _application(db) == APPLICATION_ID
        first = version == 0 and _application(db) == 0 and tables <= {"gallery", "items", "vectors"}
        if not named and not first:
            raise NotAGallery("is a database of another program: choose another data folder")
        for step in STEPS[version:]:
            step(db)
        db.execute(f"PRAGMA user_version = {len(STEPS)}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _first(db: sqlite3.Connection) -> None:
    """The layout of version 0.1, which wrote no number: it may be there already."""
    for statement in (
        "CREATE TABLE IF NOT EXISTS gallery (version INTEGER NOT NULL)",
        "INSERT INTO gallery SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM gallery)",
        "CREATE TABLE IF NOT EXISTS items ("
        "row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL,"
        " metadata TEXT NOT NULL, image BLOB NOT NULL, media_type TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS vectors ("
        "row INTEGER NOT NULL REFERENCES items (row) ON DELETE CASCADE, model TEXT NOT NULL,"
        " vector BLOB NOT NULL, PRIMARY KEY (row, model)) WITHOUT ROWID",
    ):
        db.execute(statement)


def _checksums(db: sqlite3.Connection) -> None:
    """A checksum for each row, and the digest of each image: what was changed behind our back is noticed."""
    db.create_function("sha256", 1, sha256, deterministic=True)
    db.create_function("row_checksum", 5, lambda *row: row_checksum(row[:4], row[4]), deterministic=True)
    db.create_function("vector_checksum", 3, vector_checksum, deterministic=True)
    for statement in (
        "ALTER TABLE items ADD COLUMN image_sha256 BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE items ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE vectors ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",
        "UPDATE items SET image_sha256 = sha256(CAST(image AS BLOB))",
        "UPDATE items SET checksum = row_checksum(CAST(id AS BLOB), CAST(label AS BLOB),"
        " CAST(metadata AS BLOB), CAST(media_type AS BLOB), image_sha256)",
        "UPDATE vectors SET checksum = vector_checksum(row, CAST(model AS BLOB), CAST(vector AS BLOB))",
    ):
        db.execute(statement)


# Never change one that was released: add another.
STEPS: tuple[Step, ...] = (_first, _checksums)


def _checksum(*fields: bytes) -> bytes:
    """16 bytes of sha256 over the fields, each behind its length."""
    return hashlib.sha256(b"".join([b"%d:%b" % (len(field), field) for field in fields])).digest()[:16]


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _application(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA application_id").fetchone()[0])
