"""The layout of a gallery file, and the numbered steps from every older one.

`PRAGMA user_version` is the number of steps that a file has taken, `PRAGMA application_id` says that it is a
gallery at all. All steps of an upgrade are one transaction. A new file takes all of them too, so that files
of one version have one layout, letter by letter.
"""

import sqlite3
from collections.abc import Callable
from functools import cache

from index.checksums import image_checksum, item_checksum, vector_checksum
from index.failures import NotAGallery
from index.items import MEDIA_TYPES, Texts, read_strictly

# "RGgl": in the header of the file, where `file` and other programs look.
APPLICATION_ID = 0x5247676C

Step = Callable[[sqlite3.Connection], None]
# Type, name, table and SQL of a table, index, view or trigger.
Part = tuple[str, ...]


def upgrade(db: sqlite3.Connection) -> None:
    """Bring the file to the newest layout; an empty one gets it. Raises `NotAGallery`, or `sqlite3.Error`."""
    if _version(db) == len(STEPS) and _application(db) == APPLICATION_ID:
        return
    _steps_taken(db)  # before a lock is asked for: a file that is not ours is only read
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[_steps_taken(db) :]:
            step(db)
        db.execute(f"PRAGMA user_version = {len(STEPS)}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def parts(db: sqlite3.Connection) -> frozenset[Part]:
    """All that a file is made of, whatever the line breaks in its SQL."""
    rows = db.execute("SELECT type, name, tbl_name, COALESCE(sql, '') FROM sqlite_master").fetchall()
    return frozenset(tuple(" ".join(_text(field).split()) for field in row) for row in rows)


@cache
def parts_of(steps: int) -> frozenset[Part]:
    """The `parts` of a file that has taken so many steps, and nothing else."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for step in STEPS[:steps]:
            step(db)
        return parts(db)
    finally:
        db.close()


def _steps_taken(db: sqlite3.Connection) -> int:
    """How many steps a file has taken. Raises `NotAGallery`."""
    version, application = _version(db), _application(db)
    if (version, application) == (0, 0):
        found = {part for part in parts(db) if not part[1].startswith("sqlite_")}
        if not found:
            return 0
        if {part for part in parts_of(1) if not part[1].startswith("sqlite_")} <= found:
            return 1  # version 0.1 wrote no number
    if application != APPLICATION_ID:
        raise NotAGallery("is a database of another program: choose another data folder")
    if version > len(STEPS):
        raise NotAGallery(f"was written by a newer version of this program (layout {version}): upgrade it")
    return version


def _first(db: sqlite3.Connection) -> None:
    """The layout of version 0.1, as that wrote it: its files are known by this text."""
    for statement in _FIRST.split(";"):
        db.execute(statement)


_FIRST = """
CREATE TABLE IF NOT EXISTS gallery (version INTEGER NOT NULL);
INSERT INTO gallery SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM gallery);
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL,
    metadata TEXT NOT NULL, image BLOB NOT NULL, media_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (
    row INTEGER NOT NULL REFERENCES items (row) ON DELETE CASCADE, model TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (row, model)) WITHOUT ROWID;
"""


def _checksums(db: sqlite3.Connection) -> None:
    """A checksum for each item, image and vector: what was changed behind our back is noticed.

    They are beside the items: to get at what is behind an image in a row, SQLite has to read the image. An
    item that cannot be sent back to a client gets none: it stays in the file, and is left out of answers.
    """
    db.execute(
        "CREATE TABLE checksums (row INTEGER PRIMARY KEY REFERENCES items (row) ON DELETE CASCADE,"
        " image BLOB NOT NULL, item BLOB NOT NULL)"
    )
    db.execute("ALTER TABLE vectors ADD COLUMN checksum BLOB NOT NULL DEFAULT x''")
    rows = db.execute(
        "SELECT row, CAST(id AS BLOB), CAST(label AS BLOB), CAST(metadata AS BLOB),"
        " CAST(media_type AS BLOB), CAST(image AS BLOB) FROM items"
    )
    for row, id_, label, metadata, media_type, content in rows:
        texts = Texts(id_, label, metadata)
        if read_strictly(texts) is None or media_type.decode(errors="replace") not in MEDIA_TYPES:
            continue
        image = image_checksum(media_type, content)
        db.execute("INSERT INTO checksums VALUES (?, ?, ?)", (row, image, item_checksum(texts, image)))
        vectors = db.execute(
            "SELECT CAST(model AS BLOB), CAST(vector AS BLOB) FROM vectors WHERE row = ?", (row,)
        )
        for model, vector in vectors.fetchall():
            db.execute(
                "UPDATE vectors SET checksum = ? WHERE row = ? AND CAST(model AS BLOB) = ?",
                (vector_checksum(id_, image, model, vector), row, model),
            )


def _look_ups(db: sqlite3.Connection) -> None:
    """Items by their label, and by their image, without reading them all."""
    db.execute("CREATE INDEX items_by_label ON items (label)")
    db.execute("CREATE INDEX checksums_by_image ON checksums (image)")


def _history(db: sqlite3.Connection) -> None:
    """Which rows each of the last changes touched, so that who knows an older version need not read all.

    The random name of a version tells it from one of the same number in a file that went another way.
    """
    db.execute("CREATE TABLE versions (version INTEGER PRIMARY KEY, name BLOB NOT NULL)")
    db.execute(
        "CREATE TABLE changes (version INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (version, row))"
        " WITHOUT ROWID"
    )
    db.execute("INSERT INTO versions SELECT version, randomblob(16) FROM gallery")


def _names(db: sqlite3.Connection) -> None:
    """Names for filters (`index.names`)."""
    db.execute("CREATE TABLE named (name TEXT PRIMARY KEY, filter TEXT NOT NULL) WITHOUT ROWID")


def _names_in_exports(db: sqlite3.Connection) -> None:
    """Nothing changes in the file: an export of this layout holds the names, one of an older does not."""


# Never change one that was released: add another.
STEPS: tuple[Step, ...] = (_first, _checksums, _look_ups, _history, _names, _names_in_exports)
# Exports of a layout from here on hold the names.
WITH_NAMES = STEPS.index(_names_in_exports) + 1


def _text(field: str | bytes) -> str:
    return field if isinstance(field, str) else field.decode(errors="replace")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _application(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA application_id").fetchone()[0])
