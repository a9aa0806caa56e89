"""A gallery in one SQLite file, which is its owner's alone."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from index.database import NewRow, Version
from index.failures import BUSY, BUSY_SECONDS, StoreBusy, told
from index.files import private_database
from index.history import newest
from index.schema import upgrade

_ITEM = "INSERT INTO items (id, label, metadata, image, media_type) VALUES (?, ?, ?, ?, ?)"


class SqliteConnection(sqlite3.Connection):
    """A connection that gives texts as bytes, and streams every result."""

    def fill(self, rows: Iterable[NewRow]) -> int:
        """Store items that are not there, one after the other."""
        count = 0
        for count, new in enumerate(rows, start=1):  # noqa: B007 (it is returned)
            row = self.execute(_ITEM, new[:5]).lastrowid
            self.execute("INSERT INTO checksums VALUES (?, ?, ?)", (row, *new[5:7]))
            self.executemany("INSERT INTO vectors VALUES (?, ?, ?, ?)", ((row, *one) for one in new.vectors))
        return count

    def each(self, query: str, values: Sequence[Any] = (), at_a_time: int = 2048) -> Iterator[Any]:
        """The rows of a query, one after the other."""
        return self.execute(query, values)


def connected(path: Path, busy_seconds: float | None = None) -> SqliteConnection:
    """A connection to the SQLite file `path`; raises `sqlite3.Error`.

    It waits so long for others; by default BUSY_SECONDS.
    """
    db = sqlite3.connect(
        path,
        check_same_thread=False,
        isolation_level=None,
        timeout=BUSY_SECONDS if busy_seconds is None else busy_seconds,
        factory=SqliteConnection,
    )
    db.text_factory = bytes
    return db


class SqliteDatabase:
    """An `index.database.Database`. A file that is not there is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock, self._reading, self._asking = (threading.Lock() for _ in range(3))
        with told(path):
            private_database(path)
            self._db = connected(path)
            try:
                upgrade(self._db)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA foreign_keys=ON")
                # One of its own: who reads waits neither for a change to be synced, nor for a long one.
                self._reader = connected(path)
                self._hasty = connected(path, busy_seconds=0)
            except BaseException:
                self._db.close()
                raise

    @property
    def place(self) -> str:
        """The path of the file."""
        return str(self._path)

    def close(self) -> None:
        """Close the file; what was returned from is durable already."""
        with self._lock, self._reading, self._asking:
            self._hasty.close()
            self._reader.close()
            self._db.close()  # the last one: it leaves no write-ahead log behind

    def follow(self) -> None:
        """Nothing: to ask a file costs little."""

    def newest(self) -> Version:
        """The newest version."""
        with self.reading() as db:
            return newest(db)

    def newest_at_once(self) -> Version | None:
        """The newest version; None if somebody else is in the way, or the file cannot be read."""
        if not self._asking.acquire(blocking=False):
            return None
        try:
            return newest(self._hasty)
        except sqlite3.Error:  # `newest` will say what is wrong
            return None
        finally:
            self._asking.release()

    @contextmanager
    def transaction(self) -> Iterator[SqliteConnection]:
        """All of it, or nothing."""
        # Those before it may wait for another process themselves, one after the other.
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise StoreBusy(f"{self._path} {BUSY}")
        try:
            with told(self._path):
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # on a full disk SQLite has rolled back already
                        self._db.execute("ROLLBACK")
                    raise
        finally:
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[SqliteConnection]:
        """The file as it is now, outside a transaction."""
        with self._reading, told(self._path):
            yield self._reader

    @contextmanager
    def view(self) -> Iterator[SqliteConnection]:
        """One consistent view of the file."""
        with self._reading, told(self._path), _consistent(self._reader):
            yield self._reader

    @contextmanager
    def scan(self) -> Iterator[SqliteConnection]:
        """One consistent view of the file, on a connection of its own."""
        with told(self._path), closing(connected(self._path)) as db, _consistent(db):
            yield db


@contextmanager
def _consistent(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
