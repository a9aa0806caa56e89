"""Names for filters, in the gallery file: they are no content, and leave the version as it is.

They stay in the file: exports and snapshots hold items alone, and putting one back leaves names as they are.
"""

from index.store import GalleryStore

# The name of all items, which no filter has.
DEFAULT_GALLERY = "default"


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
