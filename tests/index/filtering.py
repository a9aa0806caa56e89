"""What filters mean, once more: item by item, without a line of the index. And filters to try it with."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from index import Filter, Item, read_filter

Json = dict[str, Any]


def filter_of(document: Any) -> Filter:
    """The filter, with room for any that the tests write."""
    return read_filter(document, most_conditions=100, most_values=1000)


def matches(item: Item, document: Json) -> bool:
    """Whether an item meets a filter, as docs/api.md says it."""
    return all(_member(item, name, value) for name, value in document.items())


def _member(item: Item, name: str, value: Any) -> bool:
    if name == "$and":
        return all(matches(item, one) for one in value)
    if name == "$or":
        return any(matches(item, one) for one in value)
    if name == "$not":
        return not matches(item, value)
    there, found = _found(item, name)
    operations = value if isinstance(value, dict) else {"$eq": value}
    return all(_OPERATIONS[operator](there, found, given) for operator, given in operations.items())


def _found(item: Item, name: str) -> tuple[bool, list[Any]]:
    """Whether a field is there, and its values: those of a list, or one."""
    if name in ("id", "label"):
        return True, [getattr(item, name)]
    value: Any = item.metadata
    for step in name.split(".")[1:]:
        if not isinstance(value, dict) or step not in value:
            return False, []
        value = value[step]
    return True, value if isinstance(value, list) else [value]


def _same(one: Any, other: Any) -> bool:
    return _kind(one) is _kind(other) is not None and bool(one == other)


def _kind(value: Any) -> str | None:
    """The type in JSON of what can be compared."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[bool, list[Any], Any], bool]:
    return lambda there, found, given: any(
        _kind(one) is _kind(given) in ("number", "text") and holds(one, given) for one in found
    )


def _one_of(found: list[Any], given: list[Any]) -> bool:
    return any(_same(one, other) for one in found for other in given)


_OPERATIONS: dict[str, Callable[[bool, list[Any], Any], bool]] = {
    "$eq": lambda there, found, given: _one_of(found, [given]),
    "$ne": lambda there, found, given: not _one_of(found, [given]),
    "$in": lambda there, found, given: _one_of(found, given),
    "$nin": lambda there, found, given: not _one_of(found, given),
    "$exists": lambda there, found, given: there is given,
    "$prefix": lambda there, found, given: any(
        isinstance(one, str) and one[: len(given)] == given for one in found
    ),
    "$gt": _ordered(lambda one, other: one > other),
    "$gte": _ordered(lambda one, other: one >= other),
    "$lt": _ordered(lambda one, other: one < other),
    "$lte": _ordered(lambda one, other: one <= other),
}

# Equal ones of different types, and what float64 cannot tell apart.
SCALARS = st.sampled_from(
    ["", "a", "ab", "é", "1", "true", 0, 1, 1.0, -0.0, True, False, 2**53, 2**53 + 1, 10**30, 0.5]
)
ORDERED = SCALARS.filter(lambda value: not isinstance(value, bool))
TEXTS = st.sampled_from(["", "a", "ab", "é"])
PATHS = st.sampled_from(["metadata.n", "metadata.deep.n", "metadata.none"])
NAMES = st.sampled_from(["item-0", "item-1", "item-10", "a", "b", "item-"])

VALUES = SCALARS | st.none() | st.lists(SCALARS | st.none(), max_size=3) | st.just({"n": 1})
METADATA = st.fixed_dictionaries(
    {}, optional={"n": VALUES, "deep": st.fixed_dictionaries({}, optional={"n": VALUES}) | VALUES}
)


def _operations(values: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    some = st.lists(values, max_size=3)
    return {"$eq": values, "$ne": values, "$in": some, "$nin": some, "$prefix": TEXTS | NAMES}


_OF_METADATA = _operations(SCALARS) | {
    "$gt": ORDERED, "$gte": ORDERED, "$lt": ORDERED, "$lte": ORDERED, "$exists": st.booleans(),
}  # fmt: skip


def _some(operations: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Json]:
    return st.lists(st.sampled_from(sorted(operations)), min_size=1, max_size=2, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: operations[name] for name in chosen})
    )


_MEMBER: st.SearchStrategy[Json] = st.one_of(
    st.dictionaries(PATHS, SCALARS | _some(_OF_METADATA), min_size=1, max_size=1),
    st.dictionaries(
        st.sampled_from(["id", "label"]), NAMES | _some(_operations(NAMES)), min_size=1, max_size=1
    ),
)
FILTERS: st.SearchStrategy[Json] = st.recursive(
    _MEMBER | st.just({}),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$not": inner}),
        st.dictionaries(
            st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
        ),
        st.builds(lambda one, other: one | other, inner, _MEMBER),
    ),
    max_leaves=4,
)
