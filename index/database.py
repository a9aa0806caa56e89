"""What the gallery asks of a database. The SQL of this room is what SQLite and PostgreSQL both understand.

A `?` stands for a value. Texts are given as text, and come back as bytes: what is no UTF-8 must not keep the
rest from being read. What is SQLite's own is in `index.sqlite_database`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


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


class Session(Protocol):
    """A connection, as whoever has entered one of the blocks of a `Database` uses it."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement; its rows fit into memory."""
        ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each of `values`."""
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
