"""Which rows the last changes of a gallery file touched: who knows an older version need not read all."""

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from index.database import Session

# Versions that are remembered: of a gallery that takes 100 changes a second, some minutes.
REMEMBERED = 2**14
# Bytes of the name of a version.
NAME = 16


class Version(NamedTuple):
    """A version of a gallery file: its number, and its random name (empty if another program changed it)."""

    number: int
    name: bytes


def newest(db: Session) -> Version:
    """The version that `db` sees."""
    number, name = db.execute(
        "SELECT gallery.version, name FROM gallery LEFT JOIN versions USING (version)"
    ).fetchone()
    return Version(int(number), name or b"")


def advance(db: Session, rows: Iterable[int]) -> int:
    """Add one to the version, which touched `rows`: it made, changed or deleted them, or their vectors."""
    number = int(db.execute("UPDATE gallery SET version = version + 1 RETURNING version").fetchone()[0])
    db.execute(
        "INSERT INTO versions VALUES (?, ?) ON CONFLICT (version) DO UPDATE SET name = excluded.name",
        (number, secrets.token_bytes(NAME)),
    )
    db.executemany(
        "INSERT INTO changes VALUES (?, ?) ON CONFLICT DO NOTHING", ((number, row) for row in rows)
    )
    db.execute("DELETE FROM versions WHERE version <= ?", (number - REMEMBERED,))
    db.execute("DELETE FROM changes WHERE version <= ?", (number - REMEMBERED,))
    return number


def begin_anew(db: Session, number: int) -> None:
    """Make `number` the version, with no memory of those before."""
    db.execute("UPDATE gallery SET version = ?", (number,))
    db.execute("DELETE FROM versions")
    db.execute("DELETE FROM changes")
    db.execute("INSERT INTO versions VALUES (?, ?)", (number, secrets.token_bytes(NAME)))


def touched(db: Session, known: Version) -> list[int] | None:
    """The rows that were touched since version `known`, in order; None if that is not remembered."""
    if not known.name or not newest(db).name:
        return None
    found = db.execute("SELECT name FROM versions WHERE version = ?", (known.number,)).fetchone()
    if found is None or found[0] != known.name:
        return None
    since = db.execute("SELECT COUNT(*) FROM versions WHERE version > ?", (known.number,)).fetchone()[0]
    if since != newest(db).number - known.number:  # an older program made one, and wrote nothing of it
        return None
    rows = db.execute("SELECT DISTINCT row FROM changes WHERE version > ? ORDER BY row", (known.number,))
    return [int(row) for (row,) in rows]
