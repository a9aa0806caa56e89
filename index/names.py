"""Names for filters, in the gallery file: they are no content, and leave the version as it is.

Exports and snapshots hold them, and bring them back.
"""

import json
import re

from index.database import Session
from index.filters import FilterError, read_filter
from index.store import GalleryStore

# The name of all items, which no filter has.
DEFAULT_GALLERY = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Limits are for clients: a filter that is kept was within those of its time.
_NO_LIMIT = 10**9


def is_name(name: str) -> bool:
    """Whether a filter can be called so."""
    return name != DEFAULT_GALLERY and _NAME.fullmatch(name) is not None


def names(store: GalleryStore) -> dict[str, str]:
    """All names, in order, with the JSON of their filters."""
    with store.reading() as db:
        rows = db.execute("SELECT name, filter FROM named ORDER BY name").fetchall()
    return {name.decode(): text.decode() for name, text in rows}


def named(store: GalleryStore, name: str) -> str | None:
    """The JSON of the filter of this name; None if there is none."""
    with store.reading() as db:
        row = db.execute("SELECT filter FROM named WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0].decode())


def put_name(store: GalleryStore, name: str, text: str, most: int) -> bool | None:
    """Give a filter, as JSON, a name: whether that is new; None if there are `most` others already."""
    with store.transaction() as db:
        others = db.execute("SELECT COUNT(*) FROM named WHERE name != ?", (name,)).fetchone()[0]
        if others >= most:
            return None
        there = db.execute("DELETE FROM named WHERE name = ?", (name,)).rowcount
        db.execute("INSERT INTO named VALUES (?, ?)", (name, text))
        return not there


def delete_name(store: GalleryStore, name: str) -> bool:
    """Take a name away; whether it was there."""
    with store.transaction() as db:
        return bool(db.execute("DELETE FROM named WHERE name = ?", (name,)).rowcount)


def sound_names(db: Session) -> tuple[dict[str, str], list[str]]:
    """All names with the JSON of their filters, and those that are none, or have none, as text."""
    sound, damaged = dict[str, str](), list[str]()
    for name, text in db.execute("SELECT name, filter FROM named ORDER BY name").fetchall():
        try:
            found, document = name.decode(), json.loads(text)
            wanted = read_filter(document, most_conditions=_NO_LIMIT, most_values=_NO_LIMIT)
        except (AttributeError, TypeError, ValueError, RecursionError, FilterError):
            wanted = None
        if wanted is not None and is_name(found) and wanted.text == text.decode():
            sound[found] = wanted.text
        else:
            damaged.append(name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    return sound, damaged


def put_names(db: Session, found: dict[str, str]) -> None:
    """Give each filter, as JSON, a name that is not there."""
    db.executemany("INSERT INTO named VALUES (?, ?)", found.items())
