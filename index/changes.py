"""Changes to single items, each on a condition that is looked at in the transaction that makes the change.

So of two writers who have seen the same item the second one is told, and nothing of the first is lost. A
change that would change nothing is none: it leaves the version as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from index import rows as stored_rows
from index.checksums import image_checksum, item_checksum
from index.database import Session
from index.failures import ItemChanged, ItemDamaged, ItemMissing
from index.history import advance, newest
from index.items import Item, NewItem, read, write
from index.rows import TEXTS, legible, put_item, put_vector, revise_item, stored_image, stored_texts
from index.store import GalleryStore, checked_vector, sent_text

Outcome = Literal["added", "replaced", "unchanged", "refused"]
# Whether to change an item: of its tag as it is (None: not there), and of the tag that it would get.
Condition = Callable[[str | None, str], bool]
# The tag of what is not what was stored: no condition that names a tag holds, nothing equals it. A header
# cannot name it, as a quote ends a tag there.
DAMAGED = '"'


@dataclass(frozen=True)
class StoredItem:
    """An item as it is stored. `tag`: the digest, in hexadecimal, of all of it, its image included."""

    item: Item
    tag: str


def always(there: str | None, wanted: str) -> bool:
    """The condition that always holds."""
    return True


def if_new(there: str | None, wanted: str) -> bool:
    """The condition that nothing is lost: there is no such item, or the very same."""
    return there in (None, wanted)


def tag_of(item: Item, image: bytes, media_type: str) -> str:
    """The tag that an item will have when it is stored; raises `GalleryError` if it cannot be."""
    return item_checksum(write(item), image_checksum(media_type.encode(), image)).hex()


def current_tag(store: GalleryStore, id_: str) -> str | None:
    """The tag of an item as it is now; `DAMAGED`, or None if it is not there."""
    with store.view() as db:
        return _tag(db, id_)


def stored_item(store: GalleryStore, id_: str) -> StoredItem:
    """One item with its tag. Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored."""
    with store.reading() as db:
        return item_there(db, id_)


def put_items(
    store: GalleryStore, items: Sequence[NewItem], model: str, condition: Condition = if_new
) -> tuple[int, list[Outcome]]:
    """Store each of `items` with its vector by `model` where `condition` allows it, in one transaction.

    Returns the version of the gallery, one more if something changed, and what became of each, when the file
    is synced. Raises `GalleryError`, and stores none, if one has a vector that is not finite, or could not be
    sent back to a client.
    """
    wanted = [(new, tag_of(new.item, new.image, new.media_type), checked_vector(new)) for new in items]
    outcomes = list[Outcome]()
    rows = list[int]()
    with store.transaction() as db:
        for new, tag, vector in wanted:
            there = _tag(db, new.item.id)
            if not condition(there, tag):
                outcomes.append("refused")
            elif there == tag:
                outcomes.append("unchanged")
            else:
                row, image, gone = put_item(db, new.item, new.image, new.media_type)
                put_vector(db, row, new.item.id, image, model, vector)
                rows += [row, *gone]
                outcomes.append("added" if there is None else "replaced")
        return _version(db, rows), outcomes


def revise(
    store: GalleryStore,
    id_: str,
    *,
    label: str | None = None,
    metadata: dict[str, Any] | None = None,
    condition: Condition = always,
) -> tuple[int, StoredItem]:
    """Give an item another label, other metadata, or both; image and vectors stay. It goes to the end.

    Returns the version of the gallery, and the item. Raises `ItemMissing`, `ItemDamaged`, `ItemChanged` if
    the `condition` does not hold, or `GalleryError` if the item could not be sent back to a client.
    """
    with store.transaction() as db:
        there = item_there(db, id_)
        item = there.item if label is None else replace(there.item, label=label)
        item = item if metadata is None else replace(item, metadata=metadata)
        row, image = db.execute(_SELECT_ROW, (id_,)).fetchone()
        tag = item_checksum(write(item), image).hex()
        if not condition(there.tag, tag):
            raise ItemChanged(id_)
        rows = [] if tag == there.tag else [row, revise_item(db, row, item, image)]
        return _version(db, rows), StoredItem(item, tag)


def delete_item(store: GalleryStore, id_: str, condition: Condition = always) -> int:
    """Delete an item, damaged or not, and return the new version.

    Raises `ItemMissing`, or `ItemChanged` if the `condition` does not hold.
    """
    with store.transaction() as db:
        there = _tag(db, id_)
        if there is None:
            raise ItemMissing(id_)
        if not condition(there, there):
            raise ItemChanged(id_)
        return _version(db, stored_rows.delete_item(db, id_))


def delete_where(
    store: GalleryStore, *, label: str | None = None, prefix: str | None = None
) -> tuple[int, int]:
    """Delete all items with this label, with ids of this prefix, or both: the version, and how many."""
    with store.transaction() as db:
        where, values = _matching(label, prefix)
        gone = db.execute(f"DELETE FROM items WHERE {where} RETURNING row", values).fetchall()  # noqa: S608
        return _version(db, [row for (row,) in gone]), len(gone)


def list_items(
    store: GalleryStore, *, most: int, after: int = 0, label: str | None = None, prefix: str | None = None
) -> tuple[list[StoredItem], int | None]:
    """Up to `most` items in the order of addition, and where the next page begins (None: there is none).

    `after`: where this page begins. An item that is changed goes to the end. What is damaged is left out.
    """
    where, values = _matching(label, prefix)
    with store.reading() as db:
        rows = db.execute(
            f"{TEXTS} WHERE {where} AND items.row > ? ORDER BY items.row LIMIT ?",
            (*values, after, most + 1),
        ).fetchall()
    found = [_sound(fields) for _, *fields in rows[:most]]
    return [one for one in found if one is not None], rows[most - 1][0] if len(rows) > most else None


def first_with_image(store: GalleryStore, image: bytes, *, but: str) -> tuple[str, str] | None:
    """Id and label of the first item that has the image with this `image_checksum`, `but` for one id."""
    with store.reading() as db:
        row = db.execute(
            "SELECT id, label FROM checksums JOIN items USING (row) WHERE checksums.image = ?"
            " AND id != ? ORDER BY checksums.row LIMIT 1",
            (image, but),
        ).fetchone()
    return None if row is None else (legible(row[0]), legible(row[1]))


_SELECT = (
    "SELECT id, label, metadata, checksums.image, checksums.item"
    " FROM items LEFT JOIN checksums USING (row) WHERE id = ?"
)
_SELECT_ROW = "SELECT row, checksums.image FROM items JOIN checksums USING (row) WHERE id = ?"
_SELECT_IMAGE = (
    "SELECT items.image, media_type, checksums.image FROM items LEFT JOIN checksums USING (row) WHERE id = ?"
)


def _matching(label: str | None, prefix: str | None) -> tuple[str, tuple[str, ...]]:
    """What follows WHERE, and its values. Both None: all items."""
    parts, values = ["1 = 1"], list[str]()
    if label is not None:
        # PostgreSQL's index holds the beginnings of labels.
        parts.append("substr(label, 1, 256) = substr(?, 1, 256) AND label = ?")
        values += [label, label]
    if prefix is not None:
        parts.append("substr(id, 1, length(?)) = ?")
        values += [prefix, prefix]
    return " AND ".join(parts), tuple(values)


def item_there(db: Session, id_: str) -> StoredItem:
    """One item with its tag, as `db` sees it. Raises `ItemMissing`, or `ItemDamaged`."""
    fields = db.execute(_SELECT, (sent_text(id_),)).fetchone()
    if fields is None:
        raise ItemMissing(id_)
    found = _sound(fields)
    if found is None:
        raise ItemDamaged(id_)
    return found


def image_there(db: Session, id_: str) -> tuple[bytes, str]:
    """Its image file, and its media type, as `db` sees it. Raises `ItemMissing`, or `ItemDamaged`."""
    fields = db.execute(_SELECT_IMAGE, (sent_text(id_),)).fetchone()
    if fields is None:
        raise ItemMissing(id_)
    found = stored_image(*fields)
    if found is None:
        raise ItemDamaged(id_)
    return fields[0], found


def _sound(fields: Sequence[Any]) -> StoredItem | None:
    texts = stored_texts(*fields)
    return None if texts is None else StoredItem(read(texts), fields[-1].hex())


def _tag(db: Session, id_: str) -> str | None:
    fields = db.execute(_SELECT, (sent_text(id_),)).fetchone()
    if fields is None:
        return None
    found = _sound(fields)
    image = stored_image(*db.execute(_SELECT_IMAGE, (id_,)).fetchone())
    return DAMAGED if found is None or image is None else found.tag


def _version(db: Session, touched: Sequence[int]) -> int:
    return advance(db, touched) if touched else newest(db).number
