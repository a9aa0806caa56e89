"""One immutable version of the gallery, with exact search.

FAISS proposes in float32, float64 decides, and what was not returned is bounded from below with FAISS's
rounding taken into account: a missed rival would void a certificate.
"""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from index.arrangement import Arrangement
from index.blending import lift
from index.checksums import content_digest
from index.columns import Columns, keys
from index.failures import ShardMissing
from index.flat import rounding
from index.growth import LOT, Entry, State, View, lots
from index.items import Item
from index.labels import Labels
from index.segment import LiveSegment
from index.shards.elsewhere import elsewhere

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# FAISS returns this many more than asked for, so that float32 ties at the border are settled in float64.
MARGIN = 16
# Items looked at for the vote of a point, points that vote at a time, and squared distances that are equal.
CANDIDATES = 16
VOTES = 1024
TIE = 1e-9
# Vectors that are compared at a time, and items that are read at a time.
BATCH, READ = 8192, 256


@dataclass(frozen=True)
class Neighbors:
    """The items nearest to a point: rows (k,) and distances (k,), nearest first, equal ones by their keys.

    `outside`: every item of the search that is not listed is at least this far; infinity if none is left.
    """

    rows: Rows
    distances: Array
    outside: float


@dataclass(frozen=True)
class Votes:
    """The nearest item of each of n points (n,), and its label's number (n,); -1 where it is in doubt.

    The label may be certain where the item is not.
    """

    rows: Rows
    labels: Rows


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


class Snapshot:
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
        self.version, self.state, self._view, self._read = version, state, view, read
        self._blended = view.label_weight > 0
        # How many items there are with those that a filter left out, and the digest of them all.
        self.of_size, self._of = len(state.arrangement), ""
        self.label_names = view.labels.names
        self.items = ItemsByRow(self._arrangement.serials, read)

    def at(self, version: int) -> "Snapshot":
        """The same content as another version of the gallery."""
        return Snapshot.of(version, self._view, self.state, self._read)

    def __len__(self) -> int:
        return len(self._arrangement)

    @property
    def is_view(self) -> bool:
        """Whether it is what a filter left of another."""
        return bool(self._of)

    @property
    def bytes(self) -> int:
        """How much memory it takes beside its sealed segments, about."""
        return self._arrangement.bytes

    @property
    def _arrangement(self) -> Arrangement:
        return self.state.arrangement

    @property
    def parts(self) -> tuple[LiveSegment, ...]:
        """Where the items are: as certificates see them, part after part."""
        return self._arrangement.all

    @property
    def labels(self) -> Rows:
        """The number of the label of each item (N,)."""
        return self._arrangement.labels(np.arange(len(self)))

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors (N, d) in the order of rows: a copy."""
        return self._arrangement.vectors(np.arange(len(self)))

    def label(self, row: int) -> int:
        """The number of the label of an item."""
        return int(self._arrangement.labels(np.array([row]))[0])

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

    @cached_property
    def _largest_norm(self) -> float:
        return max((part.segment.largest_norm for part in self.parts), default=0.0)

    def of_others(self, label: int) -> NDArray[np.bool_]:
        """Which of the vectors of `parts`, part after part, are items with another label."""
        return self._mask(lambda part: part.segment.columns.labels != label)

    def all_but(self, row: int) -> NDArray[np.bool_]:
        """Which of the vectors of `parts`, part after part, are items, but not that of `row`."""
        serial = self._arrangement.serials[row]
        return self._mask(lambda part: part.segment.columns.serials != serial)

    def _mask(self, wanted: Callable[[LiveSegment], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return np.concatenate([part.within(wanted(part)) for part in self.parts])

    def lift(self, samples: NDArray[np.floating]) -> Array:
        """Embeddings (n, d) as points among the vectors, in float64."""
        return lift(samples) if self._blended else samples.astype(np.float64)

    def exact(self, rows: Rows) -> Array:
        """The vectors (..., d) of `rows` (...,), in float64: fixed numbers, the gallery itself."""
        found = self._arrangement.vectors(rows.reshape(-1)).astype(np.float64)
        return found.reshape(*rows.shape, found.shape[1])

    def keys(self, rows: Rows) -> NDArray[np.uint64]:
        """Numbers (k,) by which items are put in order that are equally near: of their content alone."""
        return keys(self._arrangement.digests(rows))

    def nearest(self, point: Array, count: int) -> Neighbors:
        """The `count` items nearest to `point` (d,), or all if there are fewer."""
        everything = np.arange(len(self))
        proposed = count + MARGIN
        if proposed >= len(self):
            return self._rank(point, everything, count, np.inf)
        squares, rows = self._search(point[None, :], proposed)
        unseen = float(self._unseen(point[None, :], squares[:, -1])[0])
        found = self._rank(point, rows[0], count, unseen)
        if count and found.distances[-1] >= unseen:  # more ties than the margin holds: look at everything
            return self._rank(point, everything, count, np.inf)
        return found

    def near(self, known: Neighbors, centre: Array, point: Array, count: int) -> Neighbors:
        """As `nearest`; if `point` is close to `centre`, the items `known` to be nearest to that decide."""
        moved = float(np.linalg.norm(point - centre))
        unseen = known.outside - moved - TIE * (1 + moved)
        found = self._rank(point, known.rows, count, unseen)
        if len(found.rows) == min(count, len(self)) and (not count or found.distances[-1] < unseen):
            return found
        return self.nearest(point, count)

    def nearest_of_label(self, point: Array, count: int, label: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) whose label has the number `label`."""
        arrangement = self._arrangement
        serials = [
            segment.columns.serials[places] for segment, places in arrangement.of_labels(np.array([label]))
        ]
        rows = np.sort(arrangement.rows(np.concatenate(serials))) if serials else np.zeros(0, np.int64)
        return self._rank(point, rows, count, np.inf)

    def nearest_of_others(self, point: Array, count: int, label: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) whose label has another number than `label`."""
        return self._nearest_among(point, count, lambda columns: columns.labels != label)

    def nearest_but(self, point: Array, count: int, row: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) besides that of `row`."""
        serial = self._arrangement.serials[row]
        return self._nearest_among(point, count, lambda columns: columns.serials != serial)

    def nearest_reached(self, point: Array, count: int) -> tuple[Neighbors, int]:
        """As `nearest`, of the items whose shards answer, and how many items were not looked at.

        So it is no basis for a certificate. Raises `ShardMissing` if nothing is left.
        """
        missing, left = set[int](), 0

        def reached(columns: Columns) -> NDArray[np.bool_]:
            vectors = elsewhere(columns.vectors)
            return np.full(len(columns), vectors is None or vectors.shard not in missing)

        while True:
            try:
                found = self._nearest_among(point, count, reached)
            except ShardMissing as error:
                missing.add(error.shard)
                left = sum(len(part) for part in self.parts if not reached(part.segment.columns).all())
                if left == len(self):
                    raise
            else:
                return found, left

    def _nearest_among(
        self, point: Array, count: int, wanted: Callable[[Columns], NDArray[np.bool_]]
    ) -> Neighbors:
        some = self.only(wanted)
        found = some.nearest(point, count)
        return replace(found, rows=self._arrangement.rows(some._arrangement.serials[found.rows]))

    def votes(self, points: Array, slack: float = 0.0) -> Votes:
        """The item nearest to each of `points` (n, d), each of which may be off by `slack`.

        A vote that moving the point by `slack`, or rounding, might change is in doubt.
        """
        votes = [self._vote(points[start : start + VOTES], slack) for start in range(0, len(points), VOTES)]
        return Votes(np.concatenate([v.rows for v in votes]), np.concatenate([v.labels for v in votes]))

    def _vote(self, points: Array, slack: float) -> Votes:
        proposed = min(CANDIDATES, len(self))
        squares, rows = self._search(points, proposed)
        vectors = self.exact(rows)
        distances = np.linalg.norm(vectors - points[:, None, :], axis=2)
        nearest = np.lexsort((rows, distances), axis=1)[:, :1]
        best = np.take_along_axis(rows, nearest, 1)[:, 0]
        first = np.take_along_axis(distances, nearest, 1)
        apart = np.linalg.norm(vectors - self.exact(best)[:, None, :], axis=2)
        # The distance of the point from the plane half-way between both items.
        close = distances**2 - first**2 <= 2 * apart * slack + TIE
        if proposed < len(self):
            unseen = self._unseen(points, squares[:, -1])
            hidden = unseen**2 - first[:, 0] ** 2 <= 2 * (unseen + first[:, 0]) * slack + TIE
        else:
            hidden = np.zeros(len(points), np.bool_)
        labels = self._arrangement.labels(rows.reshape(-1)).reshape(rows.shape)
        of_best = np.take_along_axis(labels, nearest, 1)
        return Votes(
            np.where(((rows != best[:, None]) & close).any(axis=1) | hidden, -1, best),
            np.where(((labels != of_best) & close).any(axis=1) | hidden, -1, of_best[:, 0]),
        )

    def _search(self, points: Array, count: int) -> tuple[NDArray[np.float32], Rows]:
        """Squared distances, rising, and rows (n, count) of what FAISS finds nearest to `points` (n, d)."""
        parts = self.parts
        hits = self._view.search(parts, points.astype(np.float32), count)
        serials = np.empty(hits.places.shape, np.int64)
        for number, part in enumerate(parts):
            mine = hits.parts == number
            serials[mine] = part.segment.columns.serials[hits.places[mine]]
        return hits.squares, self._arrangement.rows(serials)

    def _unseen(self, points: Array, squares: NDArray[np.float32]) -> Array:
        """What FAISS did not return is at least this far (n,); `squares` (n,): the farthest it returned."""
        slack = rounding(points, self._largest_norm)
        known = np.isfinite(slack)
        unseen = np.zeros(len(points))
        unseen[known] = np.sqrt(np.maximum(squares[known].astype(np.float64) - slack[known], 0.0))
        return unseen

    def _rank(self, point: Array, rows: Rows, count: int, unseen: float) -> Neighbors:
        """Order `rows` by float64 distance; `unseen` bounds the distance of all that are not in `rows`."""
        distances = np.empty(len(rows))
        for start in range(0, len(rows), BATCH):
            some = slice(start, start + BATCH)
            distances[some] = np.linalg.norm(self.exact(rows[some]) - point, axis=1)
        order = np.lexsort((self.keys(rows), distances))
        kept, rest = order[:count], order[count:]
        outside = min(unseen, float(distances[rest[0]])) if len(rest) else unseen
        return Neighbors(rows[kept], distances[kept], outside)


def entry_of(serial: int, item: Item, vector: NDArray[np.float32]) -> Entry:
    """What is searched of an item."""
    content = content_digest(
        item.id.encode(), item.label.encode(), item.metadata, vector.astype("<f4", copy=False).tobytes()
    )
    return Entry(serial, item.label, content, vector)
