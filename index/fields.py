"""What the items of a gallery file have in one field, so that a condition costs no look into the file.

A row of the file stands for one id, label and metadata for ever (`index.rows.put_item`), and its number is
never given out again. So what was read of a row stays true, and only rows behind the last one are ever read:
of any item that is in the file, a field knows all once it has read to the end.
"""

import operator
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice, takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from index.database import Session
from index.filters import METADATA, Condition, Operator, Scalar
from index.rows import TEXTS, stored_texts

Serials = NDArray[np.int64]
# A value as the key of a dictionary, where 1 and true would be the same: (true,).
Key = str | int | float | tuple[bool]

# What is at a path that is not there; null is there.
_NOTHING = object()
# Rows that are read at a time.
LOT = 4096
# About what Python keeps of a number in a list and a dictionary, in bytes; text has its length in addition.
KEPT = 120

_COMPARED: dict[Operator, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "prefix": str.startswith,
}  # fmt: skip


class Field(Protocol):
    """What is known of one field."""

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        ...

    @property
    def damaged(self) -> Serials:
        """The numbers of the items of which it is not known what was stored."""
        ...

    def read(self, db: Session) -> Generator[int, None, None]:
        """Read what was added to the file since: lot after lot, each up to the row that is told.

        Whoever stops between two of them can go on later.
        """
        ...

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that meet `condition`: of all that were read, there or not any more."""
        ...


_LATER = f"{TEXTS} WHERE items.row > ? ORDER BY items.row"
_FROM_ID = f"{TEXTS} WHERE id >= ? ORDER BY id"
_OF_ID = f"{TEXTS} WHERE id = ?"


class Column:
    """The values at one path of the metadata."""

    def __init__(self, path: str) -> None:
        self._path, self._read_to = path, 0
        self._numbers = dict[Key, int]()
        self._serials, self._codes = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self._there = self.damaged = np.zeros(0, np.int64)
        self._text = 0

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        arrays = self._serials.nbytes + self._codes.nbytes + self._there.nbytes
        return arrays + KEPT * len(self._numbers) + self._text

    def read(self, db: Session) -> Generator[int, None, None]:
        """Read what was added to the file since, lot after lot."""
        serials, codes, there, damaged = array("q"), array("i"), array("q"), array("q")
        rows, read_to = db.each(_LATER, (self._read_to,), LOT), self._read_to
        try:
            while lot := list(islice(rows, LOT)):
                for row, *fields in lot:
                    texts = stored_texts(*fields)
                    if texts is None:
                        damaged.append(row)
                        continue
                    found = _at(texts.metadata, self._path)
                    if found is _NOTHING:
                        continue
                    there.append(row)
                    for value in found if isinstance(found, list) else (found,):
                        key = _key(value)
                        if key is not None:
                            serials.append(row)
                            codes.append(self._number(key))
                read_to = lot[-1][0]
                yield read_to
        finally:  # also where nobody goes on
            self._serials = np.concatenate([self._serials, np.frombuffer(serials, np.int64)])
            self._codes = np.concatenate([self._codes, np.frombuffer(codes, np.int32)])
            self._there = np.concatenate([self._there, np.frombuffer(there, np.int64)])
            self.damaged = np.concatenate([self.damaged, np.frombuffer(damaged, np.int64)])
            self._read_to = read_to

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that meet `condition`: of all that were read, there or not any more."""
        if condition.operator == "exists":
            return self._there
        wanted = np.zeros(len(self._numbers), np.bool_)
        wanted[chosen(self._numbers, condition)] = True
        return self._serials[wanted[self._codes]]

    def _number(self, key: Key) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self._text += len(key) if isinstance(key, str) else 0
        return number


class Prefix:
    """The items whose ids begin with a text."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._read_to = prefix, 0
        self._found = self.damaged = np.zeros(0, np.int64)

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        return self._found.nbytes

    def read(self, db: Session) -> Generator[int, None, None]:
        """Read what was added to the file since, all at once."""
        last = last_row(db)
        if last <= self._read_to:
            return
        beginning = self._prefix.encode()

        def begins(row: Sequence[Any]) -> bool:
            return bool(row[1].startswith(beginning))

        if self._read_to:  # the few rows that are new
            found, damaged = _sound(filter(begins, db.each(_LATER, (self._read_to,))))
        else:  # in the order of the ids: all that begin so follow each other
            found, damaged = _sound(takewhile(begins, db.each(_FROM_ID, (self._prefix,))))
        self._found = np.concatenate([self._found, found])
        self.damaged = np.concatenate([self.damaged, damaged])
        self._read_to = last
        yield last

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that were read, there or not any more."""
        return self._found


class Ids:
    """Single ids. They are looked up each time: that is faster than to know them all."""

    bytes = 0

    def __init__(self, ids: Sequence[Scalar]) -> None:
        self._ids = ids
        self._found = self.damaged = np.zeros(0, np.int64)

    def read(self, db: Session) -> Generator[int, None, None]:
        """Look them up, all at once."""
        self._found, self.damaged = _sound(
            row for one in self._ids for row in db.execute(_OF_ID, (one,)).fetchall()
        )
        yield last_row(db)

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that are there."""
        return self._found


def last_row(db: Session) -> int:
    """The largest number of an item in the file; 0 if there is none."""
    (last,) = db.execute("SELECT MAX(row) FROM items").fetchone()
    return last or 0


def _sound(rows: Iterable[Sequence[Any]]) -> tuple[Serials, Serials]:
    """The numbers of the rows that are what was written, and of those that are not."""
    found, damaged = array("q"), array("q")
    for row, *fields in rows:
        (damaged if stored_texts(*fields) is None else found).append(row)
    return np.frombuffer(found, np.int64), np.frombuffer(damaged, np.int64)


def field_of(condition: Condition) -> Field:
    """What answers a `condition` on an id or on metadata."""
    if condition.field.startswith(METADATA):
        return Column(condition.field.removeprefix(METADATA))
    if condition.operator == "prefix":
        return Prefix(str(condition.values[0]))
    return Ids(condition.values)


def chosen(numbers: dict[Key, int], condition: Condition) -> list[int]:
    """The numbers of the values that meet a `condition`."""
    if condition.operator == "in":
        keys = [_key(value) for value in condition.values]
        return [numbers[key] for key in keys if key is not None and key in numbers]
    (bound,) = condition.values
    kinds = (str,) if isinstance(bound, str) else (int, float)
    meets = _COMPARED[condition.operator]
    return [number for key, number in numbers.items() if isinstance(key, kinds) and meets(key, bound)]


def _key(value: Any) -> Key | None:
    """A value of JSON as a key; None for what no condition compares."""
    if isinstance(value, bool):
        return (value,)
    return value if isinstance(value, str | int | float) else None


def _at(metadata: bytes, path: str) -> Any:
    """What `metadata` have at `path`, or `_NOTHING`; a key that has dots itself comes before deeper ones."""
    value = from_json(metadata)
    while isinstance(value, dict):
        if path in value:
            return value[path]
        head, dot, path = path.partition(".")
        if not dot or head not in value:
            break
        value = value[head]
    return _NOTHING
