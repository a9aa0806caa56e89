"""From items to what is searched: all of them at first, and then what each change touched."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.arrangement import Arrangement
from index.blending import blend
from index.clusters import FEW
from index.columns import Columns, Serials, Singles, names
from index.contents import Contents, label_digest
from index.device import Device
from index.hits import Hits, merged
from index.labels import Labels
from index.segment import LiveSegment, Segment, sealed
from index.shards.coordinator import Shards
from index.shards.elsewhere import elsewhere

Numbers = NDArray[np.int64]
Digests = NDArray[np.uint8]

# Items of a segment, about, and items that are read at a time; a label that has more stays whole.
SEGMENT, LOT = 2**16, 2**13


class Entry(NamedTuple):
    """An item: its number in the order of addition, label, digest (32,), and vector (d,) before blending."""

    serial: int
    label: str
    digest: bytes
    vector: NDArray[np.float32]


# Reads the items of these numbers that are there.
Fetch = Callable[[Sequence[int]], list[Entry]]


@dataclass(frozen=True, eq=False)
class State:
    """What one version of a gallery holds: where it is searched, and the digest of its content."""

    arrangement: Arrangement
    contents: Contents


@dataclass(frozen=True, eq=False)
class View:
    """How items with vectors of `dimension` numbers are searched: blended if `label_weight` is not 0.

    `device`: the GPU that searches sealed segments, if any; `shards`: where their vectors are, if not here.
    """

    dimension: int
    label_weight: float
    labels: Labels
    device: Device | None = None
    shards: Shards | None = None

    def kept(self, segment: Segment) -> Segment:
        """A new segment as it is from now on. Raises `ShardMissing` if its shard does not take it."""
        return segment if self.shards is None else self.shards.keep(segment)

    def search(self, parts: Sequence[LiveSegment], points: Singles, count: int) -> Hits:
        """The `count` items nearest to each of `points` (n, d), or all there are, as FAISS finds them."""
        found = [] if self.shards is None else self.shards.search(parts, points, count)
        for number, part in enumerate(parts):
            if elsewhere(part.segment.columns.vectors) is None:
                near = self.device.search(part, points, count) if self.device else part.search(points, count)
                found.append(Hits.of(number, *near))
        return merged(found, count)

    @property
    def searched(self) -> int:
        """How many numbers a vector has that is searched."""
        return self.dimension + (self.label_weight > 0)

    def first(self, lots: Iterable[Sequence[Entry]], count: int) -> State:
        """All `count` items of a gallery, in lots of whole labels."""
        nothing = Columns.none(self.searched)
        segments, rest, digests = list[Segment](), [nothing], list[bytes]()

        def seal() -> None:
            if sum(map(len, rest)):
                segments.append(self.kept(sealed(len(segments) + 1, Columns.joined(rest))))
            rest[:] = [nothing]

        for lot in lots:
            columns = self._columns(lot)
            digests += self._label_digests(columns.labels, columns.digests)
            if count > FEW and sum(map(len, rest)) + len(columns) > SEGMENT:
                seal()
            rest.append(columns)
        if count > FEW:
            seal()
        arrangement = Arrangement.of(list(map(LiveSegment, segments)), Columns.joined(rest))
        return State(arrangement, Contents.of(_stacked(digests)))

    def next(self, state: State, touched: Sequence[int], fetch: Fetch) -> State:
        """The state after a change that touched the items `touched`, old and new ones.

        With a label weight, all items of the labels that these have, or had, are read and blended anew.
        """
        arrangement = state.arrangement
        entries = fetch(touched)
        same = _unchanged(arrangement, entries)
        changed = np.array([serial for serial in touched if serial not in same], np.int64)
        fresh = [entry for entry in entries if entry.serial not in same]
        gone = changed[arrangement.holds(changed)]
        if not len(gone) and not fresh:
            return state
        old = arrangement.labels(arrangement.rows(gone))
        numbers = np.union1d(old, [self.labels.number(entry.label) for entry in fresh]).astype(np.int64)
        mates, labels, digests = _of_labels(arrangement, numbers)
        stay = ~np.isin(mates, changed)
        before = self._label_digests(labels, digests)
        if self.label_weight:
            new = self._columns(fresh + fetch(mates[stay].tolist()))
            gone, labels, digests = mates, new.labels, new.digests
        else:
            new = self._columns(fresh)
            labels = np.concatenate([labels[stay], new.labels])
            digests = np.concatenate([digests[stay], new.digests])
        contents = state.contents.changed(_stacked(before), _stacked(self._label_digests(labels, digests)))
        return State(arrangement.changed(gone, new), contents)

    def _columns(self, entries: Sequence[Entry]) -> Columns:
        """The items as they are searched, label after label; labels that have any are whole."""
        if not entries:
            return Columns.none(self.searched)
        plain = Columns(
            np.array([entry.serial for entry in entries], np.int64),
            np.array([self.labels.number(entry.label) for entry in entries], np.int32),
            _stacked([entry.digest for entry in entries]),
            np.stack([entry.vector for entry in entries]).astype(np.float32, copy=False),
        )
        # Sums round by the order of their terms: it is that of the digests, whatever came first.
        plain = plain.take(np.lexsort((names(plain.digests), plain.labels)))
        if not self.label_weight:
            return plain
        return replace(plain, vectors=blend(plain.vectors, plain.labels.astype(np.int64), self.label_weight))

    def _label_digests(self, labels: NDArray[np.int32], digests: Digests) -> list[bytes]:
        """The digest of each label of items with such `labels` (n,) and `digests` (n, 32)."""
        order = np.argsort(labels, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
        return [label_digest(self.labels.names[labels[some[0]]], digests[some]) for some in parts]


def lots(counts: Sequence[int], size: int) -> Iterator[slice]:
    """Runs of labels that have so many items each: at most `size` items in a run, or a single label."""
    begin = items = 0
    for label, count in enumerate(counts):
        if items and items + count > size:
            yield slice(begin, label)
            begin, items = label, 0
        items += count
    if items:
        yield slice(begin, len(counts))


def _unchanged(arrangement: Arrangement, entries: Sequence[Entry]) -> set[int]:
    """The numbers of items that are there already, just as they are."""
    serials = np.array([entry.serial for entry in entries], np.int64)
    held = np.flatnonzero(arrangement.holds(serials))
    known = arrangement.digests(arrangement.rows(serials[held]))
    return {
        entries[place].serial
        for place, digest in zip(held.tolist(), known, strict=True)
        if digest.tobytes() == entries[place].digest
    }


def _of_labels(arrangement: Arrangement, numbers: Numbers) -> tuple[Serials, NDArray[np.int32], Digests]:
    """Serials (n,), labels (n,) and digests (n, 32) of all items of labels `numbers`."""
    found = [Columns.none(0)]
    for segment, places in arrangement.of_labels(numbers):
        found.append(segment.columns.bare.take(places))
    joined = Columns.joined(found)
    return joined.serials, joined.labels, joined.digests


def _stacked(digests: Sequence[bytes]) -> Digests:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 32)
