"""Named galleries: parts of the gallery that a filter describes, under names that queries give.

An item belongs to whichever it matches, by its id, label and metadata, and needs no word of its own for that.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from index import (
    DEFAULT_GALLERY,
    Filter,
    FilterError,
    GalleryStore,
    StoreFailure,
    both,
    delete_name,
    is_name,
    named,
    names,
    put_name,
    read_filter,
)
from service.errors import GalleryInvalid, GalleryNotFound, TooManyGalleries
from service.gallery.failing import failure


@dataclass(frozen=True)
class FilterLimits:
    """How many members and operators a filter may have, and how many values."""

    conditions: int
    values: int

    def read(self, document: Any) -> Filter:
        """The filter that a JSON `document` holds; raises `index.FilterError`."""
        return read_filter(document, most_conditions=self.conditions, most_values=self.values)


class NamedGalleries:
    """The named galleries of one gallery, at most `most`. Every method may raise `GalleryFailure`."""

    def __init__(self, store: GalleryStore, limits: FilterLimits, most: int) -> None:
        self._store, self._limits, self._most = store, limits, most

    def all(self) -> dict[str, dict[str, Any]]:
        """The filters of all, by name."""
        with _told():
            found = names(self._store)
        return {DEFAULT_GALLERY: {}} | {name: json.loads(text) for name, text in found.items()}

    def document(self, name: str) -> dict[str, Any]:
        """The filter of one, as it was given; raises `GalleryNotFound`."""
        if name == DEFAULT_GALLERY:
            return {}
        with _told():
            text = named(self._store, name) if is_name(name) else None
        if text is None:
            raise GalleryNotFound(f"there is no gallery {_cut(name)!r}: see GET /galleries")
        found: dict[str, Any] = json.loads(text)
        return found

    def within(self, name: str | None, wanted: Filter | None) -> Filter | None:
        """What is to match in a query to the gallery `name` with a filter of its own; None for all items.

        Raises `GalleryNotFound`.
        """
        if name in (None, DEFAULT_GALLERY):
            return wanted
        part = kept_filter(self.document(str(name)))
        return part if wanted is None else both(part, wanted)

    def checked(self, name: str, document: Any) -> Filter:
        """The filter that is to have a name; raises `GalleryInvalid` on what cannot be one, or have one."""
        if not is_name(name):
            raise GalleryInvalid(
                f"a gallery cannot be called {_cut(name)!r}: up to 100 letters, digits, dots, dashes and"
                f" underscores, the first a letter or digit; {DEFAULT_GALLERY!r} is all of it"
            )
        try:
            return self._limits.read(document)
        except FilterError as error:
            raise GalleryInvalid(f"filter: {error}") from error

    def put(self, name: str, document: Any) -> bool:
        """Give a filter a name, or a name another filter: whether it is new.

        Raises what `checked` does, or `TooManyGalleries`.
        """
        wanted = self.checked(name, document)
        with _told():
            new = put_name(self._store, name, wanted.text, self._most)
        if new is None:
            raise TooManyGalleries(f"there are {self._most} galleries already: delete one first")
        return new

    def delete(self, name: str) -> None:
        """Take a name away; its items stay. Raises `GalleryNotFound`, or `GalleryInvalid` for `default`."""
        if name == DEFAULT_GALLERY:
            raise GalleryInvalid(f"{DEFAULT_GALLERY!r} is all of the gallery, and stays")
        with _told():
            there = is_name(name) and delete_name(self._store, name)
        if not there:
            raise GalleryNotFound(f"there is no gallery {_cut(name)!r}: see GET /galleries")


def kept_filter(document: Any) -> Filter:
    """The filter of a named gallery: limits that were lowered since don't take it away."""
    return FilterLimits(10**9, 10**9).read(document)


def label_filter(label: str) -> Filter:
    """The filter that the items with this label match."""
    return kept_filter({"label": label})


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreFailure as error:
        raise failure(error, "the named galleries were not read or changed") from error


def _cut(name: str) -> str:
    """A client's own name as it goes back: short, and always Unicode."""
    return name[:64].encode("utf-8", "replace").decode()
