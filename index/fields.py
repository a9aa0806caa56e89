"""What the items of a gallery file have in one field, so that a condition costs no look into the file.

A row of the file stands for one id, label and metadata for ever (`index.rows.put_item`), and its number is
never given out again. So what was read of a row stays true, and only rows behind the last one are ever read:
of any item that is in the file, a field knows all once it has read to the end.
"""

import operator
from array import array
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from index.database import Session
from index.filters import METADATA, Condition, Operator
from index.items import Texts
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


def _later(db: Session, row: int) -> Iterator[list[tuple[int, Texts | None]]]:
    """The items after `row`, lot after lot: their rows, and their texts if they are what was written."""
    rows = db.each(_LATER, (row,), LOT)
    while lot := list(islice(rows, LOT)):
        yield [(number, stored_texts(*fields)) for number, *fields in lot]


class Column:
    """The values at one path of the metadata."""

    def __init__(self, path: str) -> None:
        self._path, self._read_to = path, 0
        self._numbers = dict[Key, int]()
        self._serials, self._codes = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self._there = self.damaged = np.zeros(0, np.int64)
        self._text = self._reading = 0

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        arrays = self._serials.nbytes + self._codes.nbytes + self._there.nbytes + self._reading
        return arrays + KEPT * len(self._numbers) + self._text

    def read(self, db: Session) -> Generator[int, None, None]:
        """Read what was added to the file since, lot after lot."""
        serials, codes, there, damaged = array("q"), array("i"), array("q"), array("q")
        read_to = self._read_to
        try:
            for lot in _later(db, read_to):
                for row, texts in lot:
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
                self._reading = 8 * (len(serials) + len(there)) + 4 * len(codes)
                yield read_to
        finally:  # also where nobody goes on
            self._serials = np.concatenate([self._serials, np.frombuffer(serials, np.int64)])
            self._codes = np.concatenate([self._codes, np.frombuffer(codes, np.int32)])
            self._there = np.concatenate([self._there, np.frombuffer(there, np.int64)])
            self.damaged = np.concatenate([self.damaged, np.frombuffer(damaged, np.int64)])
            self._read_to, self._reading = read_to, 0

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


class Ids:
    """The ids of all items, one after the other in one text.

    The file's index would be faster, but what it does not find may be an item whose id was damaged.
    """

    def __init__(self) -> None:
        self._read_to = 0
        self._text, self._ends = np.zeros(0, np.uint8), np.zeros(1, np.int64)
        self._serials = self._hashes = self.damaged = np.zeros(0, np.int64)
        self._reading = 0

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        arrays = (self._text, self._ends, self._serials, self._hashes)
        return sum(each.nbytes for each in arrays) + self._reading

    def read(self, db: Session) -> Generator[int, None, None]:
        """Read what was added to the file since, lot after lot."""
        text, ends, serials, hashes = bytearray(), array("q"), array("q"), array("q")
        damaged, begin = array("q"), int(self._ends[-1])
        read_to = self._read_to
        try:
            for lot in _later(db, read_to):
                for row, texts in lot:
                    if texts is None:
                        damaged.append(row)
                        continue
                    text += texts.id
                    ends.append(begin + len(text))
                    serials.append(row)
                    hashes.append(hash(texts.id))
                read_to = lot[-1][0]
                self._reading = len(text) + 24 * len(serials)
                yield read_to
        finally:  # also where nobody goes on
            self._text = np.concatenate([self._text, np.frombuffer(text, np.uint8)])
            self._ends = np.concatenate([self._ends, np.frombuffer(ends, np.int64)])
            self._serials = np.concatenate([self._serials, np.frombuffer(serials, np.int64)])
            self._hashes = np.concatenate([self._hashes, np.frombuffer(hashes, np.int64)])
            self.damaged = np.concatenate([self.damaged, np.frombuffer(damaged, np.int64)])
            self._read_to, self._reading = read_to, 0

    def serials(self, condition: Condition) -> Serials:
        """The numbers of the items that meet `condition`: of all that were read, there or not any more."""
        wanted = [str(value).encode() for value in condition.values]
        if condition.operator == "prefix":
            return self._serials[_beginning(wanted[0], self._text, self._ends)]
        equal = np.flatnonzero(np.isin(self._hashes, [hash(id_) for id_ in wanted]))
        known = set(wanted)
        found = [
            place
            for place in equal
            if self._text[self._ends[place] : self._ends[place + 1]].tobytes() in known
        ]
        return self._serials[found]


def _beginning(prefix: bytes, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the ids that begin with `prefix`, of ids that are one `text` with these `ends`."""
    places = np.flatnonzero(np.diff(ends) >= len(prefix))
    for offset, wanted in enumerate(prefix):
        places = places[text[ends[places] + offset] == wanted]
    return places


def last_row(db: Session) -> int:
    """The largest number of an item in the file; 0 if there is none."""
    (last,) = db.execute("SELECT MAX(row) FROM items").fetchone()
    return last or 0


def field_of(condition: Condition) -> Field:
    """What answers a `condition` on an id or on metadata."""
    return Ids() if condition.field == "id" else Column(condition.field.removeprefix(METADATA))


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
