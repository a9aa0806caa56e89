"""One immutable version of the gallery: its items, how they are searched, and the digest of it all."""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from index.checksums import content_digest
from index.columns import Columns
from index.growth import LOT, Entry, State, View, lots
from index.items import Item
from index.labels import Labels
from index.search import Array, ExactSearch, Rows
from index.votes import Votes, votes_in

# Items that are read at a time.
READ = 256


class ItemsByRow(Sequence[Item]):
    """The items of a snapshot by row. They are read where they are stored, when they are asked for."""

    def __init__(self, serials: Rows, read: Callable[[Rows], Sequence[Item]]) -> None:
        self._serials, self._read = serials, read

    def __len__(self) -> int:
        return len(self._serials)

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        """One item. Raises `ItemGone` if it was deleted meanwhile, `ItemDamaged`, or `StoreFailure`."""
        if isinstance(row, slice):
            return list(self._read(self._serials[row]))
        return self._read(self._serials[row : row + 1] if row >= 0 else self._serials[[row]])[0]

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), READ):
            yield from self._read(self._serials[start : start + READ])


class Snapshot(ExactSearch):
    """Items and vectors (N, d) of one gallery version. Reads only, so threads may share it.

    `labels` (N,) are numbers: `label_names[number]` is a label, which may have no items any more.

    With a `label_weight` above 0 the vectors are blended (`index.blending`), one number longer than
    embeddings; points to search for, and samples, are embeddings that went through `lift`.
    """

    def __init__(
        self,
        version: int,
        items: Sequence[Item],
        vectors: Sequence[NDArray[np.float32]],
        dimension: int,
        label_weight: float = 0.0,
    ) -> None:
        of_label = defaultdict[str, list[int]](list)
        for row, item in enumerate(items):
            of_label[item.label].append(row)
        view = View(dimension, label_weight, Labels(sorted(of_label)))
        rows = [of_label[name] for name in view.labels.names]

        def entries() -> Iterator[list[Entry]]:
            for lot in lots(list(map(len, rows)), LOT):
                yield [entry_of(row, items[row], vectors[row]) for of in rows[lot] for row in of]

        known = tuple(items)
        state = view.first(entries(), len(items))
        self._fill(version, view, state, lambda serials: [known[serial] for serial in serials])

    @classmethod
    def of(cls, version: int, view: View, state: State, read: Callable[[Rows], Sequence[Item]]) -> Self:
        """The snapshot of a `state`; `read` finds items by their serials."""
        snapshot = cls.__new__(cls)
        snapshot._fill(version, view, state, read)
        return snapshot

    def only(self, wanted: Callable[[Columns], NDArray[np.bool_]]) -> "Snapshot":
        """Some of the items, as a snapshot: of columns (n,), `wanted` says which (n,).

        Their vectors stay as they are, also those that are blended with items that are left out: a filter
        takes items away, and moves none.
        """
        some = State(self._arrangement.only(wanted), self.state.contents)
        snapshot = type(self).of(self.version, self._view, some, self._read)
        snapshot.of_size, snapshot._of = self.of_size, self.digest
        return snapshot

    def without(self, row: int, plain: Sequence[NDArray[np.float32]]) -> "Snapshot":
        """The gallery that one would have without an item: its label is blended anew.

        `plain` are the vectors (N, d) of all items before they were blended. Only the items of the label are
        read, and move into the open segment.
        """
        arrangement = self._arrangement
        gone = int(arrangement.serials[row])

        def fetch(serials: Sequence[int]) -> list[Entry]:
            stay = np.array([serial for serial in serials if serial != gone], np.int64)
            items, rows = self._read(stay), arrangement.rows(stay).tolist()
            return [
                entry_of(serial, item, plain[at])
                for serial, item, at in zip(stay.tolist(), items, rows, strict=True)
            ]

        return type(self).of(self.version, self._view, self._view.next(self.state, [gone], fetch), self._read)

    def _fill(self, version: int, view: View, state: State, read: Callable[[Rows], Sequence[Item]]) -> None:
        super().__init__(view, state.arrangement)
        self.version, self.state, self._read = version, state, read
        # How many items there are with those that a filter left out, and the digest of them all.
        self.of_size, self._of = len(state.arrangement), ""
        self.label_names = view.labels.names
        self.items = ItemsByRow(self._arrangement.serials, read)

    def at(self, version: int) -> "Snapshot":
        """The same content as another version of the gallery."""
        return Snapshot.of(version, self._view, self.state, self._read)

    @property
    def is_view(self) -> bool:
        """Whether it is what a filter left of another."""
        return bool(self._of)

    @property
    def bytes(self) -> int:
        """How much memory it takes beside its sealed segments, about."""
        return self._arrangement.bytes

    @property
    def serials(self) -> Rows:
        """The numbers of the items in the gallery file (N,), rising: one stands for one item for ever."""
        return self._arrangement.serials

    def holds(self, serial: int) -> bool:
        """Whether an item with this number is one of these."""
        return bool(self._arrangement.holds(np.array([serial]))[0])

    @property
    def labels(self) -> Rows:
        """The number of the label of each item (N,)."""
        return self.labels_of(np.arange(len(self)))

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors (N, d) in the order of rows: a copy."""
        return self._arrangement.vectors(np.arange(len(self)))

    def label(self, row: int) -> int:
        """The number of the label of an item."""
        return int(self.labels_of(np.array([row]))[0])

    def votes(self, points: Array, slack: float = 0.0) -> Votes:
        """The item nearest to each of `points` (n, d), each of which may be off by `slack`."""
        return votes_in(self, points, slack)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides an answer but `layout`: galleries of one version may differ.

        Equal content gives an equal digest, whatever its version, its order, and what it was before; a large
        part of it only with an equal layout, too.
        """
        content = hashlib.sha256(b"retrievalguard gallery 2\0")
        content.update(struct.pack(">QQd", len(self), self._view.searched, self._view.label_weight))
        content.update(self.state.contents.root)
        if self._of:  # which of these items are wanted: the layout says it, but of the open segment
            content = hashlib.sha256(f"retrievalguard view 1\0{self._of}{self.layout}".encode())
            content.update(np.ascontiguousarray(self._arrangement.open.columns.digests).data)
        return "sha256:" + content.hexdigest()

    @cached_property
    def layout(self) -> str:
        """sha256 of how items are put into clusters, by which bets are chosen; it may change by itself."""
        content = hashlib.sha256(b"layout 1\0")
        for part in self._arrangement.parts:
            content.update(part.layout)
        return "sha256:" + content.hexdigest()


def entry_of(serial: int, item: Item, vector: NDArray[np.float32]) -> Entry:
    """What is searched of an item."""
    content = content_digest(
        item.id.encode(), item.label.encode(), item.metadata, vector.astype("<f4", copy=False).tobytes()
    )
    return Entry(serial, item.label, content, vector)
