"""The durable gallery: images, labels, metadata and, for each model, vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.database import Database, Place, SharedGallery
from index.entries import Stored, damaged, read_stored, tell, unembedded
from index.failures import GalleryError, ItemDamaged, ItemGone, ItemMissing, StoreFailure
from index.history import advance, newest
from index.items import Item, NewItem, read
from index.rows import delete_item, legible, put_item, put_vector, stored_image, stored_texts
from index.sqlite_database import SqliteDatabase


@dataclass(frozen=True)
class Loaded:
    """One version of the gallery, as one model sees it, in the order of addition.

    damaged      ids of items that are left out, because they or their vectors are not what was stored
    unembedded   ids of sound items whose vector is missing, or is not what was stored
    """

    version: int
    items: list[Item]
    vectors: list[NDArray[np.float32]]
    damaged: tuple[str, ...]
    unembedded: tuple[str, ...]


class GalleryStore:
    """The durable gallery at `place`. Safe to share between threads and processes.

    Every change adds one to `version`, in the same transaction: a reader that sees the version sees the
    change, and a crash leaves either both or neither. Every method raises `StoreFailure` where the gallery
    cannot be read or written.

    path    the SQLite file; what this machine keeps of a gallery in PostgreSQL is beside where it would be
    place   what messages call it
    shared  whether it is in PostgreSQL, so that its server may be away
    """

    def __init__(self, place: Place) -> None:
        self._opened = place
        self.shared = isinstance(place, SharedGallery)
        self.path = place.path if isinstance(place, SharedGallery) else place
        database = _database(place)
        self.place = database.place
        self.close, self.follow, self.newest = database.close, database.follow, database.newest
        self.newest_at_once = database.newest_at_once
        self.transaction, self.reading = database.transaction, database.reading
        self.view, self.scan = database.view, database.scan

    def again(self) -> "GalleryStore":
        """The same gallery on connections of its own: who changes much keeps nobody here waiting."""
        return GalleryStore(self._opened)

    def version(self) -> int:
        """The number of changes made so far; 0 for a gallery that was never written."""
        return self.newest().number

    def add(self, items: Sequence[NewItem], model: str) -> int:
        """Store `items` with their vectors by `model`, all or none, and return the new version.

        An id that is there already is replaced. Returns when the file is synced. Raises `GalleryError` on
        a vector that is not finite, or an item that could not be sent back to a client.
        """
        vectors = [checked_vector(new) for new in items]
        with self.transaction() as db:
            rows = list[int]()
            for new, vector in zip(items, vectors, strict=True):
                row, image, gone = put_item(db, new.item, new.image, new.media_type)
                put_vector(db, row, new.item.id, image, model, vector)
                rows += [row, *gone]
            return advance(db, rows)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items, all or none, and return the new version; `ItemMissing` if one is not there."""
        with self.transaction() as db:
            rows = list[int]()
            for id_ in ids:
                gone = delete_item(db, sent_text(id_))
                if not gone:
                    raise ItemMissing(id_)
                rows += gone
            return advance(db, rows)

    def set_vectors(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        model: str,
        images: Mapping[str, bytes] | None = None,
    ) -> int:
        """Store vectors by `model` for items that are there, all or none, and return the new version.

        `images`: the `image_checksum` that each vector is of. An item that has another image by now is passed
        over. Raises `GalleryError` on a vector that is not finite.
        """
        for id_, vector in vectors.items():
            _check_finite(id_, vector)
        with self.transaction() as db:
            rows = list[int]()
            for id_, vector in vectors.items():
                row, image = db.execute(_SELECT_IMAGE_CHECKSUM, (sent_text(id_),)).fetchone() or (0, None)
                if image is not None and (images is None or images[id_] == image):
                    put_vector(db, row, id_, image, model, _to_bytes(vector))
                    rows.append(row)
            return advance(db, rows)

    def item(self, id_: str) -> Item:
        """One item. Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored."""
        texts = stored_texts(*self._one(_SELECT_ITEM, id_))
        if texts is None:
            raise ItemDamaged(id_)
        return read(texts)

    def ids(self) -> list[str]:
        """All ids, in the order in which they were added."""
        with self.reading() as db:
            return [legible(row[0]) for row in db.execute("SELECT id FROM items ORDER BY row")]

    def image(self, id_: str) -> tuple[bytes, str]:
        """The image file of an item as it was added, and its media type.

        Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored.
        """
        content, media_type, checksum = self._one(_SELECT_IMAGE, id_)
        found = stored_image(content, media_type, checksum)
        if found is None:
            raise ItemDamaged(id_)
        return content, found

    def _one(self, query: str, id_: str) -> tuple[Any, ...]:
        with self.reading() as db:
            row: tuple[Any, ...] | None = db.execute(query, (sent_text(id_),)).fetchone()
        if row is None:
            raise ItemMissing(id_)
        return row

    def without_vector(self, model: str) -> list[str]:
        """Ids of the items that `model` has not embedded yet, in the order in which they were added."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT id FROM items"
                " WHERE row NOT IN (SELECT row FROM vectors WHERE model = ?) ORDER BY row",
                (model,),
            )
            return [legible(row[0]) for row in rows]

    def load(self, model: str, dimension: int | None = None) -> Loaded:
        """All items and their vectors by `model`, from one consistent view.

        Items and vectors that are not what was stored are left out, named, and logged; so are vectors that
        are not of `dimension` numbers (None: any) or not finite. Images are not read: `image` checks them.
        """
        items, vectors, left_out = [], [], list[Stored]()
        with self.view() as db:
            version = newest(db).number
            for stored in read_stored(db, model, dimension):
                if stored.texts is None or stored.vector is None:
                    left_out.append(stored)
                else:
                    items.append(read(stored.texts))
                    vectors.append(stored.vector)
        tell(self.place, left_out)
        return Loaded(version, items, vectors, damaged(left_out), unembedded(left_out))

    def texts(self, rows: Sequence[int]) -> list[Item]:
        """The items in `rows` of the file. Raises `ItemGone`, or `ItemDamaged`: it is not what was stored."""
        found = list[Item]()
        with self.view() as db:
            for row in rows:
                fields = db.execute(_SELECT_TEXTS, (int(row),)).fetchone()
                if fields is None:
                    raise ItemGone
                texts = stored_texts(*fields)
                if texts is None:
                    raise ItemDamaged(legible(fields[0]))
                found.append(read(texts))
        return found


_SELECT_ITEM = (
    "SELECT id, label, metadata, checksums.image, checksums.item"
    " FROM items LEFT JOIN checksums USING (row) WHERE id = ?"
)
_SELECT_IMAGE = (
    "SELECT items.image, media_type, checksums.image FROM items LEFT JOIN checksums USING (row) WHERE id = ?"
)
_SELECT_IMAGE_CHECKSUM = "SELECT row, checksums.image FROM items JOIN checksums USING (row) WHERE id = ?"
_SELECT_TEXTS = (
    "SELECT id, label, metadata, checksums.image, checksums.item"
    " FROM items LEFT JOIN checksums USING (row) WHERE items.row = ?"
)


def _database(place: Place) -> Database:
    if not isinstance(place, SharedGallery):
        return SqliteDatabase(place)
    try:
        from index.postgres import PostgresDatabase
    except ImportError as error:
        raise StoreFailure(
            "a gallery in PostgreSQL needs the extra `postgres`: pip install 'retrievalguard[cpu,postgres]'"
            f" ({error})"
        ) from error
    return PostgresDatabase(place)


def sent_text(id_: str) -> str:
    """`id_`, as a client sent it; `ItemMissing` if it is no Unicode, as no id of an item is."""
    try:
        id_.encode()
    except UnicodeEncodeError as error:
        raise ItemMissing(id_) from error
    return id_


def checked_vector(new: NewItem) -> bytes:
    """The vector of `new` as it is stored; `GalleryError` if it is not finite."""
    _check_finite(new.item.id, new.vector)
    return _to_bytes(new.vector)


def _to_bytes(vector: NDArray[np.float32]) -> bytes:
    return vector.astype("<f4").tobytes()


def _check_finite(id_: str, vector: NDArray[np.float32]) -> None:
    if not np.isfinite(vector).all():
        raise GalleryError(f"the embedding of item {id_!r} is not finite: it was not stored")
