"""The durable gallery: one SQLite file with images, labels, metadata and, for each model, vectors."""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from index.failures import GalleryError, ItemDamaged, ItemMissing, told
from index.schema import row_checksum, sha256, sound_row, sound_vector, upgrade, vector_checksum

log = logging.getLogger("retrievalguard")


@dataclass(frozen=True)
class Item:
    """One gallery item without its image. `label` is what the label guarantee is about."""

    id: str
    label: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewItem:
    """An item to store: the image file as it came, and its embedding (d,) by the model of the gallery."""

    item: Item
    image: bytes
    media_type: str
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class Loaded:
    """One version of the gallery, as one model sees it, in the order of addition.

    damaged      ids of items whose row is not what was stored: they are left out
    unembedded   ids of items whose vector is missing, or is not what was stored
    """

    version: int
    items: list[Item]
    vectors: list[NDArray[np.float32]]
    damaged: tuple[str, ...]
    unembedded: tuple[str, ...]


class GalleryStore:
    """Transactions on the gallery file. Safe to share between threads and processes.

    Every change adds one to `version`, in the same transaction: a reader that sees the version sees the
    change, and a crash leaves either both or neither. Every method raises `StoreFailure` where the file
    cannot be read or written. The file is its owner's alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with told(path):
            path.touch(mode=0o600)  # SQLite gives its side files the mode of the file
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            upgrade(self._db)
            # Text as it is: what is no UTF-8 is told by its checksum, or by the check of texts.
            self._db.text_factory = bytes
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        """Close the file; what was returned from is durable already."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All of it, or nothing; texts come as bytes."""
        with self._lock, told(self.path):
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite has rolled back already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file, outside a transaction; texts come as bytes."""
        with self._lock, told(self.path):
            yield self._db

    def version(self) -> int:
        """The number of changes made so far; 0 for a gallery that was never written."""
        with self.reading() as db:
            return int(db.execute("SELECT version FROM gallery").fetchone()[0])

    def add(self, items: Sequence[NewItem], model: str) -> int:
        """Store `items` with their vectors by `model`, all or none, and return the new version.

        An id that is there already is replaced. Returns when the file is synced. Raises `GalleryError` on
        a vector that is not finite.
        """
        for new in items:
            _check_finite(new.item.id, new.vector)
        with self.transaction() as db:
            for new in items:
                db.execute("DELETE FROM items WHERE id = ?", (new.item.id,))
                texts = (new.item.id, new.item.label, _metadata_text(new.item), new.media_type)
                digest = sha256(new.image)
                checksum = row_checksum([text.encode() for text in texts], digest)
                row = db.execute(
                    "INSERT INTO items (id, label, metadata, media_type, image, image_sha256, checksum)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*texts, new.image, digest, checksum),
                ).lastrowid
                _put_vector(db, int(row or 0), model, new.vector)
            return self._bump(db)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items, all or none, and return the new version; `ItemMissing` if one is not there."""
        with self.transaction() as db:
            for id_ in ids:
                if db.execute("DELETE FROM items WHERE id = ?", (id_,)).rowcount == 0:
                    raise ItemMissing(id_)
            return self._bump(db)

    def set_vectors(self, vectors: Mapping[str, NDArray[np.float32]], model: str) -> int:
        """Store vectors by `model` for items that are there, all or none, and return the new version.

        Raises `GalleryError` on a vector that is not finite.
        """
        for id_, vector in vectors.items():
            _check_finite(id_, vector)
        with self.transaction() as db:
            for id_, vector in vectors.items():
                found = db.execute("SELECT row FROM items WHERE id = ?", (id_,)).fetchone()
                if found is not None:  # else it was deleted meanwhile
                    _put_vector(db, int(found[0]), model, vector)
            return self._bump(db)

    @staticmethod
    def _bump(db: sqlite3.Connection) -> int:
        return int(db.execute("UPDATE gallery SET version = version + 1 RETURNING version").fetchone()[0])

    def item(self, id_: str) -> Item:
        """One item. Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored."""
        row = self._one(_SELECT_ITEM, id_)
        return _sound_item(row) or _damaged(id_)

    def ids(self) -> list[str]:
        """All ids, in the order in which they were added."""
        with self.reading() as db:
            return [_shown(row[0]) for row in db.execute("SELECT id FROM items ORDER BY row")]

    def image(self, id_: str) -> tuple[bytes, str]:
        """The image file of an item as it was added, and its media type.

        Raises `ItemMissing`, or `ItemDamaged`: it is not what was stored.
        """
        *row, content = self._one(_SELECT_ITEM_AND_IMAGE, id_)
        if _sound_item(row) is None or not isinstance(content, bytes) or sha256(content) != row[4]:
            _damaged(id_)
        return content, row[3].decode()

    def _one(self, query: str, id_: str) -> tuple[Any, ...]:
        with self.reading() as db:
            row: tuple[Any, ...] | None = db.execute(query, (id_,)).fetchone()
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
            return [_shown(row[0]) for row in rows]

    def load(self, model: str) -> Loaded:
        """All items and their vectors by `model`, from one consistent view.

        Items and vectors that are not what was stored are left out, named, and logged.
        """
        with self.transaction("BEGIN") as db:
            version = int(db.execute("SELECT version FROM gallery").fetchone()[0])
            rows = db.execute(_SELECT_ALL, (model,)).fetchall()
        items, vectors = [], []
        damaged, unembedded = [], []
        for *row, number, content, checksum in rows:
            item, vector = _sound_item(row), None
            if sound_vector(number, model.encode(), content, checksum):
                vector = np.frombuffer(content, dtype="<f4")
            if item is None:
                damaged.append(_shown(row[0]))
            elif vector is None:
                unembedded.append(item.id)
            else:
                items.append(item)
                vectors.append(vector)
        if damaged:
            log.error(
                "%s: %d items were changed or damaged in the file and are left out: %s. Add them again, or"
                " restore an export",
                self.path, len(damaged), ", ".join(map(repr, damaged[:10])),
            )  # fmt: skip
        return Loaded(version, items, vectors, tuple(damaged), tuple(unembedded))


# Each begins with what `_sound_item` takes.
_SELECT_ITEM = "SELECT id, label, metadata, media_type, image_sha256, checksum FROM items WHERE id = ?"
_SELECT_ITEM_AND_IMAGE = (
    "SELECT id, label, metadata, media_type, image_sha256, checksum, image FROM items WHERE id = ?"
)
_SELECT_ALL = (
    "SELECT id, label, metadata, media_type, image_sha256, items.checksum, items.row, vector,"
    " vectors.checksum FROM items LEFT JOIN vectors ON items.row = vectors.row AND model = ?"
    " ORDER BY items.row"
)


def _sound_item(row: Sequence[Any]) -> Item | None:
    """The item of a row; None if it is not what was stored, or cannot be sent as JSON in UTF-8."""
    *fields, checksum = row
    if not sound_row(fields[:4], fields[4], checksum):
        return None
    try:
        id_, label, metadata = (text.decode() for text in fields[:3])
        found = _DECODER.decode(metadata)
        if "\\u" in metadata:  # half of a character may be behind it
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return Item(id_, label, found) if isinstance(found, dict) else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _damaged(id_: str) -> NoReturn:
    raise ItemDamaged(id_)


def _shown(id_: bytes) -> str:
    """An id as text, also one that was damaged."""
    return id_.decode(errors="backslashreplace")


def _metadata_text(item: Item) -> str:
    """Metadata as JSON text; raises `GalleryError` if it cannot be sent as JSON in UTF-8."""
    try:
        text = json.dumps(item.metadata, allow_nan=False)
        json.dumps([item.id, item.label, item.metadata], ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise GalleryError(
            f"item {item.id!r} cannot be sent back as JSON ({error}): it was not stored"
        ) from error
    return text


def _put_vector(db: sqlite3.Connection, row: int, model: str, vector: NDArray[np.float32]) -> None:
    content = vector.astype("<f4").tobytes()
    db.execute(
        "INSERT OR REPLACE INTO vectors (row, model, vector, checksum) VALUES (?, ?, ?, ?)",
        (row, model, content, vector_checksum(row, model.encode(), content)),
    )


def _check_finite(id_: str, vector: NDArray[np.float32]) -> None:
    if not np.isfinite(vector).all():
        raise GalleryError(f"the embedding of item {id_!r} is not finite: it was not stored")
