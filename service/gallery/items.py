"""Items one by one, for whoever asks from outside: looked up, listed, added, replaced, revised, deleted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from index import (
    Condition,
    Gallery,
    Item,
    NewItem,
    Outcome,
    StoredItem,
    always,
    current_tag,
    delete_item,
    delete_where,
    if_new,
    list_items,
    revise,
    stored_item,
    tag_of,
)
from service.errors import (
    ItemExists,
    ItemInvalid,
    PreconditionFailed,
    Problem,
)
from service.gallery.check import ItemRefused, ItemRules, shown
from service.gallery.failing import CHANGED, item_failures
from service.gallery.intake import Change, Intake, Twins, twins_warning
from service.images import media_type
from service.traffic.admission import Admission


@dataclass(frozen=True)
class Addition:
    """An item that is to be added, as it was sent."""

    id: str
    label: str
    metadata: dict[str, Any]
    image: bytes


@dataclass(frozen=True)
class ChangedItem:
    """What became of an item, the item as it is now, and the version of the gallery.

    `tag`: of the item; `warnings`: what looks like a mistake, though it was done.
    """

    item: Item
    tag: str
    outcome: Change
    version: int
    warnings: tuple[str, ...] = ()


class GalleryItems:
    """The items of a gallery. Safe to share between threads.

    Every method raises `ItemNotFound`, or `GalleryFailure`: the gallery file cannot be read or written, or
    the item in it is damaged. Changes return when they are durable; at most `most` are under way, the next
    one is told to come back (`Overloaded`).
    """

    def __init__(self, gallery: Gallery, intake: Intake, rules: ItemRules, most: int) -> None:
        self._gallery, self._store, self._intake, self._rules = gallery, gallery.store, intake, rules
        self._admission = Admission(most, "changes")

    def get(self, id_: str) -> StoredItem:
        """One item."""
        with item_failures():
            return stored_item(self._store, id_)

    def image(self, id_: str) -> tuple[bytes, str]:
        """The image file of an item as it was added, and its media type."""
        with item_failures():
            return self._store.image(id_)

    def page(self, most: int, after: int, label: str | None) -> tuple[list[StoredItem], int | None]:
        """Up to `most` items in the order of addition, and where the next page begins, if there is one."""
        with item_failures():
            return list_items(self._store, most=most, after=after, label=label)

    def add(self, id_: str, label: str, metadata: dict[str, Any], content: bytes) -> ChangedItem:
        """Add an item that is not there; the very same one may be.

        Raises `ItemInvalid`, `ItemExists`, the image problems of `service.errors`, or `ModelFailure`.
        """
        return self._put(self._item(id_, label, metadata), content, if_new, _exists(id_))

    def add_all(self, additions: Sequence[Addition | Problem]) -> tuple[int, list[ChangedItem | Problem]]:
        """Add many in one change: the version, and in each place what became of it, or what `add` raises.

        A problem among `additions` stays in its place.
        """
        with self._admission.enter(), item_failures():
            checked = [self._addition(one) for one in additions]
            embedded = iter(self._intake.prepare_all([one for one in checked if isinstance(one, tuple)]))
            places = [next(embedded) if isinstance(one, tuple) else one for one in checked]
            new = [one for one in places if isinstance(one, NewItem)]
            warnings = self._warnings(new)
            version, outcomes = self._gallery.put(new)
            stored = zip(outcomes, warnings, strict=True)
            results = list[ChangedItem | Problem]()
            for one in places:
                if isinstance(one, NewItem):
                    results.append(_became(one, version, *next(stored)) or _exists(one.item.id))
                else:
                    results.append(replace(one, version=version) if isinstance(one, ChangedItem) else one)
            return version, results

    def put(
        self, id_: str, label: str, metadata: dict[str, Any], content: bytes, condition: Condition = always
    ) -> ChangedItem:
        """Have this item in the gallery, in place of one with its id.

        Raises `PreconditionFailed` if the `condition` does not hold, and what `add` raises.
        """
        return self._put(self._item(id_, label, metadata), content, condition, PreconditionFailed(CHANGED))

    def revise(
        self,
        id_: str,
        *,
        label: str | None = None,
        metadata: dict[str, Any] | None = None,
        condition: Condition = always,
    ) -> ChangedItem:
        """Give an item another label, other metadata, or both; its image stays, so nothing is embedded.

        Raises `ItemInvalid`, or `PreconditionFailed`.
        """
        with self._admission.enter(), item_failures():
            before = stored_item(self._store, id_)
            checked = self._item(id_, before.item.label if label is None else label, metadata or {})
            version, after = revise(
                self._store,
                id_,
                label=None if label is None else checked.label,
                metadata=None if metadata is None else checked.metadata,
                condition=condition,
            )
        return ChangedItem(after.item, after.tag, "unchanged" if after == before else "replaced", version)

    def delete(self, id_: str, condition: Condition = always) -> int:
        """Delete an item, and return the version; raises `PreconditionFailed`."""
        with self._admission.enter(), item_failures():
            return delete_item(self._store, id_, condition)

    def delete_where(self, label: str | None, prefix: str | None) -> tuple[int, int]:
        """Delete all items with this label, with ids of this prefix, or both: the version, and how many."""
        with self._admission.enter(), item_failures():
            return delete_where(self._store, label=label, prefix=prefix)

    def _item(self, id_: str, label: str, metadata: dict[str, Any]) -> Item:
        try:
            return self._rules.item(id_, label, metadata)
        except ItemRefused as error:
            raise ItemInvalid(str(error)) from error

    def _addition(self, one: Addition | Problem) -> tuple[Item, bytes] | ChangedItem | Problem:
        if isinstance(one, Problem):
            return one
        try:
            item = self._item(one.id, one.label, one.metadata)
            return self._unchanged(item, one.image, if_new, _exists(item.id)) or (item, one.image)
        except Problem as problem:
            return problem

    def _put(self, item: Item, content: bytes, condition: Condition, refusal: Problem) -> ChangedItem:
        with self._admission.enter(), item_failures():
            unchanged = self._unchanged(item, content, condition, refusal)
            if unchanged is not None:
                return unchanged
            new = self._intake.prepare(item, content)
            (warnings,) = self._warnings([new])
            version, (outcome,) = self._gallery.put([new], condition)
            found = _became(new, version, outcome, warnings)
            if found is None:  # another writer was faster
                raise refusal
            return found

    def _unchanged(
        self, item: Item, content: bytes, condition: Condition, refusal: Problem
    ) -> ChangedItem | None:
        """The very same item, if it is there: nothing is embedded that would not be stored.

        Raises `refusal` if the condition does not hold; it is looked at again when the item is stored.
        """
        tag, there = tag_of(item, content, media_type(content)), current_tag(self._store, item.id)
        if not condition(there, tag):
            raise refusal
        return ChangedItem(item, tag, "unchanged", self._store.version()) if there == tag else None

    def _warnings(self, items: Sequence[NewItem]) -> list[tuple[str, ...]]:
        """What looks like a mistake in each; asked before they are stored, so that the answer is not late."""
        twins = Twins(self._store)
        pairs = (twins.see(new.item, new.image) for new in items)
        return [twins_warning([] if pair is None else [pair]) for pair in pairs]


def _became(new: NewItem, version: int, outcome: Outcome, warnings: tuple[str, ...]) -> ChangedItem | None:
    """What became of an item that was to be stored; None if it was refused."""
    if outcome == "refused":
        return None
    tag = tag_of(new.item, new.image, new.media_type)
    return ChangedItem(new.item, tag, outcome, version, warnings)


def _exists(id_: str) -> ItemExists:
    return ItemExists(
        f"{shown(id_)} is there already, with another image, label or metadata: choose another id, or replace"
        " it with PUT /gallery/items/{id}"
    )
