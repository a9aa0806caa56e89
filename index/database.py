"""What the gallery asks of a database. The SQL of this room is what SQLite and PostgreSQL both understand.

A `?` stands for a value. Texts are given as text, and come back as bytes: what is no UTF-8 must not keep the
rest from being read. All that differs between the two is in `index.sqlite_database` and `index.postgres`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class SharedGallery:
    """A gallery in PostgreSQL. `url`: of the database; `path`: what this machine keeps is beside this file.

    The file itself is never made: it is where the gallery would be in SQLite.
    """

    url: str = field(repr=False)
    path: Path


# Where a gallery is: in an SQLite file, or in PostgreSQL.
Place = Path | SharedGallery


class Version(NamedTuple):
    """A version of a gallery: its number, and its random name (empty if another program changed it).

    Two histories may have the same number: what is of one version has its name, too.
    """

    number: int
    name: bytes


class Cursor(Protocol):
    """The rows that a statement returned."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class NewRow(NamedTuple):
    """An item that is not there yet, as it is stored, with the checksums of its image and its texts.

    `vectors`: model, numbers and checksum of each.
    """

    id: str
    label: str
    metadata: str
    image: bytes
    media_type: str
    image_checksum: bytes
    item_checksum: bytes
    vectors: tuple[tuple[str, bytes, bytes], ...]


class Session(Protocol):
    """A connection, as whoever has entered one of the blocks of a `Database` uses it."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement; its rows fit into memory."""
        ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each of `values`."""
        ...

    def fill(self, rows: Iterable[NewRow], /) -> int:
        """Store items that are not there, in this order, and return how many."""
        ...

    def each(self, query: str, values: Sequence[Any] = (), at_a_time: int = 2048) -> Iterator[Any]:
        """The rows of a query that may return more than fits into memory; so many are held `at_a_time`."""
        ...


class Database(Protocol):
    """A database that holds one gallery. Safe to share between threads and processes.

    Its blocks raise `StoreFailure` where the database cannot be read or written.
    """

    @property
    def place(self) -> str:
        """What messages call it; holds no secret."""
        ...

    def close(self) -> None:
        """End all connections; what was returned from is durable already."""
        ...

    def follow(self) -> None:
        """`newest` will be asked for with every query: see that this costs little."""
        ...

    def newest(self) -> Version:
        """The newest version, after at most a second if another process made it.

        Raises `StoreUnreachable` if the database is another machine's, and away.
        """
        ...

    def newest_at_once(self) -> Version | None:
        """As `newest`, for who must not wait: None if it cannot be told without waiting for anybody."""
        ...

    def transaction(self) -> AbstractContextManager[Session]:
        """All of the block, or nothing, and durable at its end. One at a time, of all processes."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """What is there now, statement by statement."""
        ...

    def view(self) -> AbstractContextManager[Session]:
        """One consistent view, beside what is written meanwhile."""
        ...

    def scan(self) -> AbstractContextManager[Session]:
        """One consistent view, on a connection of its own: who reads all of it keeps nobody waiting."""
        ...
