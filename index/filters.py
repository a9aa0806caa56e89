"""Filters: what the items that a query is about have in common, written as MongoDB writes it.

A filter is a JSON object. All of its members have to hold:

    {"label": "cat", "metadata.shop": {"$in": [7, 9]}, "metadata.price": {"$gte": 10, "$lt": 20}}

A member is a field and what its value is, or has to meet; or `$and`, `$or` with a list of filters, `$not`
with one. Fields: `id`, `label`, and `metadata.` with a path, one dot a level. What a condition means is said
in `Condition`, and to clients in docs/api.md.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from index.failures import GalleryError

Scalar = str | bool | int | float
Operator = Literal["in", "gt", "gte", "lt", "lte", "prefix", "exists"]

METADATA = "metadata."
# What may be asked of an id or a label, and of metadata.
OF_A_NAME = ("$eq", "$ne", "$in", "$nin", "$prefix")
OPERATORS = (*OF_A_NAME, "$gt", "$gte", "$lt", "$lte", "$exists")


class FilterError(GalleryError):
    """A document is no filter, or one over its limits; the message says what to do."""


@dataclass(frozen=True)
class Condition:
    """What a field has to meet.

    in             the value is one of `values`, of the same type: 1 is 1.0, and neither "1" nor true
    gt gte lt lte  it is a number beyond a number, or text beyond text, in the order of code points
    prefix         it is text that begins so
    exists         it is there, if only as null; it has no values

    A list meets a condition if one of its elements does. What is not there meets none.
    """

    field: str
    operator: Operator
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True)
class All:
    """All of these hold; nothing has to, if there are none."""

    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Either:
    """One of these holds."""

    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Not:
    """This does not hold."""

    part: "Part"


Part = Condition | All | Either | Not


@dataclass(frozen=True)
class Filter:
    """A filter that was read. Two are equal if they are written with the same members, in any order."""

    text: str
    root: Part = field(compare=False)  # here 1 and true would be equal

    @property
    def conditions(self) -> list[Condition]:
        """All conditions in it."""
        return _conditions(self.root)


def read_filter(document: Any, *, most_conditions: int, most_values: int) -> Filter:
    """The filter that a JSON `document` holds. Raises `FilterError`.

    `most_conditions`: of all levels, each member and each operator being one. `most_values`: in all of them.
    """
    reader = _Reader(most_conditions, most_values)
    root = reader.filter(document)
    return Filter(json.dumps(document, sort_keys=True, separators=(",", ":")), root)


def both(one: Filter, other: Filter) -> Filter:
    """The filter that matches what both do."""
    return Filter(f'{{"$and":[{one.text},{other.text}]}}', All((one.root, other.root)))


class _Reader:
    def __init__(self, most_conditions: int, most_values: int) -> None:
        self._conditions, self._most_conditions = 0, most_conditions
        self._values, self._most_values = 0, most_values

    def filter(self, document: Any) -> Part:
        if not isinstance(document, dict):
            raise FilterError(f'a filter is an object, such as {{"label": "cat"}}, got {_named(document)}')
        parts = [self._member(name, value) for name, value in document.items()]
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _member(self, name: str, value: Any) -> Part:
        self._count()
        if name == "$not":
            return Not(self.filter(value))
        if name in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise FilterError(f"{name}: takes a list of filters, at least one, got {_named(value)}")
            parts = tuple(map(self.filter, value))
            return All(parts) if name == "$and" else Either(parts)
        path = name.removeprefix(METADATA)
        if name not in ("id", "label") and (path == name or not path):
            raise FilterError(
                f"{_cut(name)}: no field; known ones: id, label, metadata.NAME; and $and, $or, $not"
            )
        _check_text(name, name)
        if not isinstance(value, dict):
            return Condition(name, "in", self._scalars(name, [value]))
        if not value:
            raise FilterError(f"{_cut(name)}: no operator; known ones: {', '.join(_operators(name))}")
        parts = tuple(self._operation(name, operator, given) for operator, given in value.items())
        return parts[0] if len(parts) == 1 else All(parts)

    def _operation(self, name: str, operator: str, given: Any) -> Part:
        self._count()
        where = f"{_cut(name)}: {_cut(operator)}"
        if operator not in _operators(name):
            raise FilterError(f"{where} is no operator here; known ones: {', '.join(_operators(name))}")
        if operator in ("$in", "$nin"):
            if not isinstance(given, list):
                raise FilterError(f"{where} takes a list, got {_named(given)}")
            within = Condition(name, "in", self._scalars(name, given))
            return within if operator == "$in" else Not(within)
        if operator == "$exists":
            if not isinstance(given, bool):
                raise FilterError(f"{where} takes true or false, got {_named(given)}")
            there = Condition(name, "exists")
            return there if given else Not(there)
        values = self._scalars(name, [given])
        if operator in ("$eq", "$ne"):
            same = Condition(name, "in", values)
            return same if operator == "$eq" else Not(same)
        if isinstance(given, bool) or (operator == "$prefix" and not isinstance(given, str)):
            wanted = "text" if operator == "$prefix" else "a number or text"
            raise FilterError(f"{where} takes {wanted}, got {_named(given)}")
        return Condition(name, _ORDERED[operator], values)

    def _scalars(self, name: str, given: list[Any]) -> tuple[Scalar, ...]:
        self._values += len(given)
        if self._values > self._most_values:
            raise FilterError(f"more than {self._most_values} values: ask with fewer, or by another field")
        for value in given:
            if not isinstance(value, str | bool | int | float) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                hint = "; $exists asks whether it is there" if value is None else ""
                raise FilterError(
                    f"{_cut(name)}: a value is text, a number, true or false, got {_named(value)}{hint}"
                )
            if isinstance(value, str):
                _check_text(name, value)
            elif name in ("id", "label"):
                raise FilterError(f"{name}: is text, got {_named(value)}")
        return tuple(given)

    def _count(self) -> None:
        self._conditions += 1
        if self._conditions > self._most_conditions:
            raise FilterError(f"more than {self._most_conditions} members and operators: ask with fewer")


_ORDERED: dict[str, Operator] = {
    "$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte", "$prefix": "prefix",
}  # fmt: skip


def _conditions(part: Part) -> list[Condition]:
    if isinstance(part, Condition):
        return [part]
    parts = (part.part,) if isinstance(part, Not) else part.parts
    return [condition for one in parts for condition in _conditions(one)]


def _operators(name: str) -> tuple[str, ...]:
    return OF_A_NAME if name in ("id", "label") else OPERATORS


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{_cut(name)}: text that is no Unicode") from error


def _cut(name: str) -> str:
    """A client's own name as it goes back: short, and always Unicode."""
    return name[:64].encode("utf-8", "replace").decode()


def _named(value: Any) -> str:
    """What a value is, in JSON's words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    for kind, name in ((str, "text"), (dict, "an object"), (list, "a list"), (int | float, "a number")):
        if isinstance(value, kind):
            return name
    return type(value).__name__
