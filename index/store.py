"""The durable gallery: one SQLite file with images, labels, metadata and, for each model, vectors."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SCHEMA = """
CREATE TABLE IF NOT EXISTS gallery (version INTEGER NOT NULL);
INSERT INTO gallery SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM gallery);
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL,
    metadata TEXT NOT NULL, image BLOB NOT NULL, media_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (
    row INTEGER NOT NULL REFERENCES items (row) ON DELETE CASCADE, model TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (row, model)) WITHOUT ROWID;
"""


class GalleryError(Exception):
    """The gallery refused: an id that is not there, or a vector that is not finite or of another size."""


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


class GalleryStore:
    """Transactions on the gallery file. Safe to share between threads and processes.

    Every change adds one to `version`, in the same transaction: a reader that sees the version sees the
    change, and a crash leaves either both or neither.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        with self._transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)

    def close(self) -> None:
        """Close the file; what was returned from is durable already."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite has rolled back already
                    self._db.execute("ROLLBACK")
                raise

    def version(self) -> int:
        """The number of changes made so far; 0 for a gallery that was never written."""
        with self._lock:
            return int(self._db.execute("SELECT version FROM gallery").fetchone()[0])

    def add(self, items: Sequence[NewItem], model: str) -> int:
        """Store `items` with their vectors by `model`, all or none, and return the new version.

        An id that is there already is replaced. Returns when the file is synced. Raises `GalleryError` on
        a vector that is not finite.
        """
        for new in items:
            _check_finite(new.item.id, new.vector)
        with self._transaction() as db:
            for new in items:
                db.execute("DELETE FROM items WHERE id = ?", (new.item.id,))
                row = db.execute(
                    "INSERT INTO items (id, label, metadata, image, media_type) VALUES (?, ?, ?, ?, ?)",
                    (new.item.id, new.item.label, json.dumps(new.item.metadata), new.image, new.media_type),
                ).lastrowid
                db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (row, model, _to_bytes(new.vector)))
            return self._bump(db)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items, all or none, and return the new version; `GalleryError` if one is not there."""
        with self._transaction() as db:
            for id_ in ids:
                if db.execute("DELETE FROM items WHERE id = ?", (id_,)).rowcount == 0:
                    raise GalleryError(f"the gallery has no item {id_!r}")
            return self._bump(db)

    def set_vectors(self, vectors: Mapping[str, NDArray[np.float32]], model: str) -> int:
        """Store vectors by `model` for items that are there, all or none, and return the new version.

        Raises `GalleryError` on a vector that is not finite.
        """
        for id_, vector in vectors.items():
            _check_finite(id_, vector)
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO vectors SELECT row, ?, ? FROM items WHERE id = ?",
                [(model, _to_bytes(vector), id_) for id_, vector in vectors.items()],
            )
            return self._bump(db)

    @staticmethod
    def _bump(db: sqlite3.Connection) -> int:
        return int(db.execute("UPDATE gallery SET version = version + 1 RETURNING version").fetchone()[0])

    def item(self, id_: str) -> Item:
        """One item; `GalleryError` if it is not there."""
        id_, label, metadata = self._one("SELECT id, label, metadata FROM items WHERE id = ?", id_)
        return Item(id_, label, json.loads(metadata))

    def ids(self) -> list[str]:
        """All ids, in the order in which they were added."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT id FROM items ORDER BY row")]

    def image(self, id_: str) -> tuple[bytes, str]:
        """The image file of an item as it was added, and its media type; `GalleryError` if not there."""
        content, media_type = self._one("SELECT image, media_type FROM items WHERE id = ?", id_)
        return content, media_type

    def _one(self, query: str, id_: str) -> tuple[Any, ...]:
        with self._lock:
            row: tuple[Any, ...] | None = self._db.execute(query, (id_,)).fetchone()
        if row is None:
            raise GalleryError(f"the gallery has no item {id_!r}")
        return row

    def without_vector(self, model: str) -> list[str]:
        """Ids of the items that `model` has not embedded yet, in the order in which they were added."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id FROM items"
                " WHERE row NOT IN (SELECT row FROM vectors WHERE model = ?) ORDER BY row",
                (model,),
            )
            return [row[0] for row in rows]

    def load(self, model: str) -> tuple[int, list[Item], list[NDArray[np.float32]]]:
        """Version, items and vectors by `model`, from one consistent view, in the order of addition."""
        with self._transaction("BEGIN") as db:
            version = int(db.execute("SELECT version FROM gallery").fetchone()[0])
            rows = db.execute(
                "SELECT id, label, metadata, vector FROM items JOIN vectors USING (row)"
                " WHERE model = ? ORDER BY row",
                (model,),
            ).fetchall()
        items = [Item(id_, label, json.loads(metadata)) for id_, label, metadata, _ in rows]
        return version, items, [np.frombuffer(row[3], dtype="<f4") for row in rows]


def _check_finite(id_: str, vector: NDArray[np.float32]) -> None:
    if not np.isfinite(vector).all():
        raise GalleryError(f"the embedding of item {id_!r} is not finite: it was not stored")


def _to_bytes(vector: NDArray[np.float32]) -> bytes:
    return vector.astype("<f4").tobytes()
