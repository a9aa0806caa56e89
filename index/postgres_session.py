"""Statements for PostgreSQL, written as in the rest of this room."""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg

from index.database import Cursor, NewRow


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that another thread can end under whoever waits for the server."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # A number of our own for it, which is nobody else's as soon as it is closed.
        self._cable = socket.socket(fileno=os.dup(self.fileno()))

    def cut(self) -> None:
        """Whoever waits for an answer gets an `OperationalError` instead."""
        with suppress(OSError):  # it is closed already
            self._cable.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        super().close()
        self._cable.close()

    def __exit__(self, *error: Any) -> None:
        """End it; the one of psycopg does not `close` what is lost."""
        try:
            super().__exit__(*error)
        finally:
            self._cable.close()


# An item with its checksums and vectors, in one statement.
_WHOLE = b"""
WITH new AS (
    INSERT INTO items (id, label, metadata, image, media_type) VALUES ($1, $2, $3, $4, $5) RETURNING row),
sums AS (INSERT INTO checksums SELECT row, $6::bytea, $7::bytea FROM new)
INSERT INTO vectors (row, model, vector, checksum)
SELECT row, given.* FROM new, unnest($8::bytea[], $9::bytea[], $10::bytea[]) AS given
"""


class PostgresSession:
    """An `index.database.Session`. All text is stored as bytes (`index.postgres_schema`)."""

    def __init__(self, connection: PostgresConnection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement; its rows are in memory."""
        return self._connection.execute(numbered(statement), sent(values), binary=True)

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each of `values`."""
        with self._connection.cursor() as cursor:
            cursor.executemany(numbered(statement), map(sent, values))
        return None

    def fill(self, rows: Iterable[NewRow], /) -> int:
        """Store items that are not there, without waiting for the server after each of them.

        What it refuses is raised late, and nothing of the transaction is stored then.
        """
        count = 0

        def values() -> Iterator[list[Any]]:
            nonlocal count
            for new in rows:
                count += 1
                models = [model.encode() for model, _, _ in new.vectors]
                numbers = [vector for _, vector, _ in new.vectors]
                checksums = [checksum for _, _, checksum in new.vectors]
                yield [*sent(new[:7]), models, numbers, checksums]

        with self._connection.cursor() as cursor:
            cursor.executemany(_WHOLE, values())
        return count

    def each(self, query: str, values: Sequence[Any] = (), at_a_time: int = 2048) -> Iterator[Any]:
        """The rows of a query, which stay at the server until they are asked for."""
        with self._connection.cursor(f"each_{next(_numbers)}", binary=True) as cursor:
            cursor.itersize = at_a_time
            cursor.execute(numbered(query), sent(values))
            yield from cursor


_numbers = count()


@lru_cache(maxsize=256)
def numbered(statement: str) -> bytes:
    """A statement with $1, $2, ... where it has a `?`."""
    first, *others = statement.split("?")
    return "".join((first, *(f"${number}{part}" for number, part in enumerate(others, 1)))).encode()


def sent(values: Sequence[Any]) -> list[Any]:
    """Values as PostgreSQL gets them."""
    return [value.encode() if isinstance(value, str) else value for value in values]
