"""What the items of a gallery file have in one field, so that a condition costs no look into the file.

A row of the file stands for one id, label and metadata for ever (`index.rows.put_item`), and its number is
never given out again. So what was read of a row stays true, and only rows behind the last one are ever read:
of any item that is in the file, a field knows all once it has read to the end.
"""

import json
import operator
from array import array
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.database import Session
from index.filters import METADATA, Condition, Operator, Scalar
from index.rows import stored_texts

Serials = NDArray[np.int64]
# A value as the key of a dictionary, where 1 and true would be the same: (true,).
Key = str | int | float | tuple[bool]

# What is at a path that is not there; null is there.
_NOTHING = object()
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

    def read(self, db: Session) -> None:
        """Read what was added to the file since."""
        ...

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that meet `condition`: of all that were read, there or not any more."""
        ...


_TEXTS = (
    "SELECT items.row, id, label, metadata, checksums.image, checksums.item"
    " FROM items LEFT JOIN checksums USING (row) WHERE items.row > ? ORDER BY items.row"
)


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

    def read(self, db: Session) -> None:
        """Read what was added to the file since."""
        serials, codes, there, damaged = array("q"), array("i"), array("q"), array("q")
        row, asked = self._read_to, (self._read_to,)
        for row, *fields in db.each(_TEXTS, asked):
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
        self._serials = np.concatenate([self._serials, np.frombuffer(serials, np.int64)])
        self._codes = np.concatenate([self._codes, np.frombuffer(codes, np.int32)])
        self._there = np.concatenate([self._there, np.frombuffer(there, np.int64)])
        self.damaged = np.concatenate([self.damaged, np.frombuffer(damaged, np.int64)])
        self._read_to = row

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

    damaged = np.zeros(0, np.int64)

    def __init__(self, prefix: str) -> None:
        self._prefix, self._read_to = prefix, 0
        self._found = np.zeros(0, np.int64)

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        return self._found.nbytes

    def read(self, db: Session) -> None:
        """Read what was added to the file since."""
        (last,) = db.execute("SELECT MAX(row) FROM items").fetchone()
        if last is None or last <= self._read_to:
            return
        beginning = self._prefix.encode()
        if self._read_to:  # the few rows that are new
            rows = db.each("SELECT row, id FROM items WHERE row > ?", (self._read_to,))
        else:  # in the order of the ids: all that begin so follow each other
            rows = takewhile(
                lambda one: one[1].startswith(beginning),
                db.each("SELECT row, id FROM items WHERE id >= ? ORDER BY id", (self._prefix,)),
            )
        found = [row for row, id_ in rows if id_.startswith(beginning)]
        self._found = np.concatenate([self._found, np.array(found, np.int64)])
        self._read_to = last

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that were read, there or not any more."""
        return self._found


class Ids:
    """Single ids. They are looked up each time: that is faster than to know them all."""

    bytes = 0
    damaged = np.zeros(0, np.int64)

    def __init__(self, ids: Sequence[Scalar]) -> None:
        self._ids = ids
        self._found = np.zeros(0, np.int64)

    def read(self, db: Session) -> None:
        """Look them up."""
        found = [db.execute("SELECT row FROM items WHERE id = ?", (one,)).fetchone() for one in self._ids]
        self._found = np.array([row[0] for row in found if row is not None], np.int64)

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that are there."""
        return self._found


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
    value = json.loads(metadata)
    while isinstance(value, dict):
        if path in value:
            return value[path]
        head, dot, path = path.partition(".")
        if not dot or head not in value:
            break
        value = value[head]
    return _NOTHING
