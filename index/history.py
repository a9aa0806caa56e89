"""Which rows the last changes of a gallery file touched: who knows an older version need not read all."""

import secrets
from collections.abc import Iterable

from index.database import Session, Version

# Versions that are remembered: of a gallery that takes 100 changes a second, some minutes.
REMEMBERED = 2**14
# Bytes of the name of a version.
NAME = 16


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


def follows(db: Session, known: Version) -> bool:
    """Whether what `db` sees came of version `known`, as far as that is remembered.

    Not so where a server was put back to an older state, and another change got the number, and its rows.
    """
    found = db.execute("SELECT name FROM versions WHERE version = ?", (known.number,)).fetchone()
    return bool(known.name) and found is not None and found[0] == known.name


def touched(db: Session, known: Version) -> list[int] | None:
    """The rows that were touched since version `known`, in order; None if that is not remembered."""
    if not newest(db).name or not follows(db, known):
        return None
    since = db.execute("SELECT COUNT(*) FROM versions WHERE version > ?", (known.number,)).fetchone()[0]
    if since != newest(db).number - known.number:  # an older program made one, and wrote nothing of it
        return None
    rows = db.execute("SELECT DISTINCT row FROM changes WHERE version > ? ORDER BY row", (known.number,))
    return [int(row) for (row,) in rows]
