"""Items of a part of the gallery: listed, and looked up in the file by who must see no others.

A row of the file stands for one item for ever, so that an item whose row a part holds is in it, whatever
changes meanwhile. One that is not there, and one that is in another part, are the same to who asks.
"""

import numpy as np

from index.changes import StoredItem, image_there, item_there
from index.database import Session
from index.failures import ItemDamaged, ItemMissing
from index.items import Item
from index.snapshot import Snapshot
from index.store import GalleryStore, sent_text


def page_of(part: Snapshot, most: int, after: int) -> tuple[list[Item], int | None]:
    """Up to `most` items of `part` in the order of addition, and where the next page begins (None: nowhere).

    `after`: where this page begins. What is damaged is left out. Raises `ItemGone` if one was deleted since.
    """
    serials = part.serials
    begin = int(np.searchsorted(serials, after, side="right"))
    end = min(begin + most, len(serials))
    found = list[Item]()
    for row in range(begin, end):
        try:
            found.append(part.items[row])
        except ItemDamaged:
            continue
    return found, int(serials[end - 1]) if end < len(serials) else None


def item_of(store: GalleryStore, part: Snapshot, id_: str) -> StoredItem:
    """One item of `part` with its tag. Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored."""
    with store.view() as db:
        _check(db, part, id_)
        return item_there(db, id_)


def image_of(store: GalleryStore, part: Snapshot, id_: str) -> tuple[bytes, str]:
    """Its image file as it was added, and its media type; raises as `item_of`."""
    with store.view() as db:
        _check(db, part, id_)
        return image_there(db, id_)


def _check(db: Session, part: Snapshot, id_: str) -> None:
    """Raise `ItemMissing` unless what has this id, as `db` sees it, is in `part`."""
    row = db.execute("SELECT row FROM items WHERE id = ?", (sent_text(id_),)).fetchone()
    if row is None or not part.holds(row[0]):
        raise ItemMissing(id_)
