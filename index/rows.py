"""Rows of a gallery: written with their checksums, and read only where they are what was written."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.checksums import image_checksum, item_checksum, vector_checksum
from index.database import NewRow, Session
from index.failures import GalleryError
from index.items import MEDIA_TYPES, Item, Texts, read_strictly, write

# Images that are held in memory at a time.
IMAGES = 16


@dataclass(frozen=True)
class WholeItem:
    """All that a file holds of one item: its image, and its vectors as bytes by model.

    `damaged_vectors`: how many vectors are left out, because they are not what was stored.
    """

    item: Item
    image: bytes
    media_type: str
    vectors: dict[str, bytes]
    damaged_vectors: int


@dataclass(frozen=True)
class DamagedItem:
    """An item that is not what was stored, or cannot be sent to a client: its id, as far as it is legible."""

    id: str


def put_item(db: Session, item: Item, image: bytes, media_type: str) -> tuple[int, bytes, list[int]]:
    """Store an item, in place of one with its id, without a vector.

    Returns its row, the checksum of its image, and the row of the one that was there, if any. A row is never
    changed nor used again: it stands for one id, label and metadata. Raises `GalleryError` if the item could
    not be sent back to a client.
    """
    texts = write(item)
    _check_media_type(item.id, media_type)
    checksum = image_checksum(media_type.encode(), image)
    gone = delete_item(db, item.id)
    row = _insert(db, texts, image, media_type, checksum)
    return row, checksum, gone


def _check_media_type(id_: str, media_type: str) -> None:
    if media_type not in MEDIA_TYPES:
        raise GalleryError(
            f"item {id_!r} is {media_type!r}, none of {', '.join(MEDIA_TYPES)}: it was not stored"
        )


def delete_item(db: Session, id_: str) -> list[int]:
    """Delete the item with this id, if there is one, and return its row."""
    return [row for (row,) in db.execute("DELETE FROM items WHERE id = ? RETURNING row", (id_,))]


def revise_item(db: Session, row: int, item: Item, image: bytes) -> int:
    """Give the item in `row`, whose image has the checksum `image`, the label and metadata of `item`.

    Returns its new row; image and vectors go with it. Raises `GalleryError` if the item could not be sent
    back to a client.
    """
    texts = write(item)
    content, media_type = db.execute("SELECT image, media_type FROM items WHERE row = ?", (row,)).fetchone()
    vectors = db.execute("SELECT model, vector, checksum FROM vectors WHERE row = ?", (row,)).fetchall()
    delete_item(db, item.id)
    new = _insert(db, texts, content, media_type.decode(), image)
    db.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?, ?)",
        ((new, model.decode(), vector, checksum) for model, vector, checksum in vectors),
    )
    return new


def _insert(db: Session, texts: Texts, image: bytes, media_type: str, checksum: bytes) -> int:
    """Store an item whose image has this `checksum`; returns its row."""
    row = int(
        db.execute(
            "INSERT INTO items (id, label, metadata, image, media_type) VALUES (?, ?, ?, ?, ?) RETURNING row",
            (*(text.decode() for text in texts), image, media_type),
        ).fetchone()[0]
    )
    db.execute("INSERT INTO checksums VALUES (?, ?, ?)", (row, checksum, item_checksum(texts, checksum)))
    return row


def put_vector(db: Session, row: int, id_: str, image: bytes, model: str, vector: bytes) -> None:
    """Store the vector by `model` of an item; `image`: the checksum of the image that it is of."""
    checksum = vector_checksum(id_.encode(), image, model.encode(), vector)
    db.execute(
        "INSERT INTO vectors VALUES (?, ?, ?, ?) ON CONFLICT (row, model)"
        " DO UPDATE SET vector = excluded.vector, checksum = excluded.checksum",
        (row, model, vector, checksum),
    )


def put_whole(db: Session, whole: WholeItem) -> None:
    """Store an item with its vectors, as it was read."""
    row, image, _ = put_item(db, whole.item, whole.image, whole.media_type)
    for model, vector in whole.vectors.items():
        put_vector(db, row, whole.item.id, image, model, vector)


def new_row(whole: WholeItem) -> NewRow:
    """An item with its vectors, as it was read, as a database that does not have it is to store it.

    Raises `GalleryError` as `put_item` does.
    """
    texts = write(whole.item)
    _check_media_type(whole.item.id, whole.media_type)
    image = image_checksum(whole.media_type.encode(), whole.image)
    vectors = (
        (model, vector, vector_checksum(texts.id, image, model.encode(), vector))
        for model, vector in whole.vectors.items()
    )
    id_, label, metadata = (text.decode() for text in texts)
    item = item_checksum(texts, image)
    return NewRow(id_, label, metadata, whole.image, whole.media_type, image, item, tuple(vectors))


# Row, and what `stored_texts` is given of it.
TEXTS = (
    "SELECT items.row, id, label, metadata, checksums.image, checksums.item"
    " FROM items LEFT JOIN checksums USING (row)"
)


def stored_texts(id_: object, label: object, metadata: object, image: object, item: object) -> Texts | None:
    """The texts of a row with its checksums `image` and `item`; None if they are not what was stored."""
    # Read a million times in a row: so it is not written as a loop.
    if not (type(id_) is type(label) is type(metadata) is type(image) is bytes):
        return None
    texts = Texts(id_, label, metadata)
    return texts if item_checksum(texts, image) == item else None


def stored_image(content: object, media_type: object, image: object) -> str | None:
    """The media type of an image with its checksum `image`; None if either is not what was stored."""
    if not isinstance(content, bytes) or not isinstance(media_type, bytes):
        return None
    found = media_type.decode(errors="replace")
    return found if image_checksum(media_type, content) == image and found in MEDIA_TYPES else None


def stored_vector(
    id_: bytes, image: bytes, model: object, vector: object, checksum: object
) -> NDArray[np.float32] | None:
    """The numbers of a vector; None if they are not what was stored for this item, or not all finite."""
    if not isinstance(model, bytes) or not isinstance(vector, bytes) or not vector or len(vector) % 4:
        return None
    if vector_checksum(id_, image, model, vector) != checksum:
        return None
    numbers = np.frombuffer(vector, "<f4")
    return numbers if np.isfinite(numbers).all() else None


def whole_items(db: Session) -> Iterator[WholeItem | DamagedItem]:
    """Every item with its image and vectors, in the order of addition, all of it checked.

    It trusts no checksum alone: the file may come from anybody.
    """
    rows = db.each(
        "SELECT items.row, id, label, metadata, checksums.image, checksums.item, items.image, media_type"
        " FROM items LEFT JOIN checksums USING (row) ORDER BY items.row",
        at_a_time=IMAGES,
    )
    for row, id_, label, metadata, image, checksum, content, media_type in rows:
        texts = stored_texts(id_, label, metadata, image, checksum)
        item = None if texts is None else read_strictly(texts)
        kind = stored_image(content, media_type, image)
        if item is None or kind is None:
            yield DamagedItem(legible(id_))
            continue
        found = db.execute("SELECT model, vector, checksum FROM vectors WHERE row = ?", (row,)).fetchall()
        vectors = {
            model.decode(errors="replace"): vector
            for model, vector, of in found
            if stored_vector(id_, image, model, vector, of) is not None
        }
        yield WholeItem(item, content, kind, vectors, len(found) - len(vectors))


def legible(id_: object) -> str:
    """An id as the file holds it, as text, also one that was damaged."""
    return id_.decode(errors="backslashreplace") if isinstance(id_, bytes) else str(id_)
