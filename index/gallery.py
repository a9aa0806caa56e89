"""The gallery in use: the store, and the snapshot of its newest version."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.changes import Condition, Outcome, if_new, put_items
from index.compaction import compacted, due
from index.database import Place, Session, Version
from index.device import Device
from index.entries import Stored, damaged, read_stored, tell, unembedded
from index.failures import GalleryError, StoreFailure, StoreUnreachable
from index.filters import Filter
from index.growth import LOT, Entry, State, View, lots
from index.held import HeldTexts
from index.history import REMEMBERED, newest, touched
from index.items import Item, NewItem, read
from index.labels import Labels
from index.pack import Packed, load, save
from index.shards.coordinator import Shards
from index.shards.elsewhere import elsewhere
from index.shards.mending import Mending
from index.snapshot import Snapshot, entry_of
from index.store import GalleryStore
from index.upkeep import Upkeep
from index.views import Views

log = logging.getLogger("retrievalguard")

# A change that touches more items than this, and more than this share of them, is as good as another gallery.
MANY, SHARE = 10_000, 0.25
# Galleries from this size on are kept as they are searched, too, and again once so much of them has changed.
LARGE, STALE = 20_000, 0.02
FILTER_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Seen:
    """One version of a gallery file: how it is searched, as what, and the rows that are left out."""

    version: Version
    view: View
    snapshot: Snapshot
    left_out: dict[int, Stored]


class Gallery:
    """A gallery seen through one embedding model.

    `model` names the embedding (model digest, σ, samples an item): vectors of different models never mix.
    `label_weight`: how much of an item's distance is its label's (`index.blending`). `filter_bytes`: what may
    be kept in memory for filters (`index.views`). `device`: the GPU that searches it (`index.device`).
    `shards`: where the vectors of sealed segments are, instead of here (`index.shards`).
    """

    def __init__(
        self,
        place: Place,
        model: str,
        dimension: int,
        label_weight: float = 0.0,
        filter_bytes: int = FILTER_BYTES,
        device: Device | None = None,
        shards: Shards | None = None,
    ) -> None:
        self.store = GalleryStore(place)
        self._model = model
        self._dimension = dimension
        self._label_weight = label_weight
        self._device, self._shards = device, shards
        self._lock = threading.Lock()
        self._pack = self.store.path.with_suffix(".pack")
        self._upkeep = Upkeep(self._keep_up)
        self._views = Views(self.store, filter_bytes)
        # While the server of a shared gallery is away, queries are answered from what is in memory.
        self._held = HeldTexts() if self.store.shared else None
        try:
            self.store.follow()
            with self.store.view() as db:
                self._open(db)
        except BaseException:
            self.store.close()
            raise
        self._mending = None if shards is None else Mending(self.mend)

    def close(self) -> None:
        """Close the file, after what is done in the background now."""
        if self._mending is not None:
            self._mending.close()
        self._upkeep.close()
        self._views.close()
        self.store.close()

    def beside(self, path: Path) -> "Gallery":
        """The gallery in another file, seen through the same model."""
        return Gallery(path, self._model, self._dimension, self._label_weight)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Ids of items that are left out: they, or their vectors, are not what was stored."""
        return damaged(self._seen.left_out.values())

    @property
    def cut_off(self) -> bool:
        """Whether the server of a shared gallery is away, so that there may be newer versions."""
        if not self.store.shared:
            return False
        try:
            self.store.newest()
        except StoreUnreachable:
            return True
        return False

    def snapshot(self) -> Snapshot:
        """The newest version, also when another process wrote it. Readers keep theirs: it never changes."""
        try:
            if self._seen.version != self.store.newest():
                with self._newest():
                    pass
        except StoreUnreachable as error:  # what is known is whole, and names its version
            log.debug("%s", error)
        return self._seen.snapshot

    def filtered(self, wanted: Filter, seconds: float | None = None) -> Snapshot:
        """The items of the newest version that `wanted` matches: a view, with a digest of its own.

        Raises `NotReadYet` if that takes more than so many `seconds`, as a first filter on a field may, and
        `FilterTooLarge` if it takes more memory than filters may.
        """
        return self._views.of(self.snapshot(), wanted, self._newest, seconds)

    @contextmanager
    def _newest(self) -> Iterator[tuple[Session, Snapshot]]:
        """The file as it is, and the snapshot of just that."""
        with self._in_turn(), self._view() as db:
            if newest(db) != self._seen.version:  # else somebody was faster
                self._catch_up(db, touched(db, self._seen.version))
            yield db, self._seen.snapshot

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Nobody else changes what is known meanwhile.

        With shards, which may be handed a whole gallery, `StoreFailure` after as long as one may take to
        answer.
        """
        if not self._lock.acquire(timeout=-1 if self._shards is None else self._shards.seconds):
            raise StoreFailure("shards are being given what is in the gallery: try again later")
        try:
            yield
        finally:
            self._lock.release()

    def _view(self) -> AbstractContextManager[Session]:
        """One consistent view, in which nobody is kept waiting who reads, however long shards take."""
        return self.store.view() if self._shards is None else self.store.scan()

    def _open(self, db: Session) -> None:
        """The newest version, from what an earlier process kept, if that is of any use."""
        packed = None
        if self._shards is None:  # a pack holds vectors, which are elsewhere
            packed = load(self._pack, self._model, self._dimension, self._label_weight)
        rows = None if packed is None else touched(db, packed.version)
        if packed is None or rows is None:
            self._load(db)
        else:
            view = replace(packed.view, device=self._device)
            self._see(packed.version, view, packed.state, packed.left_out)
            self._kept, self._changed = packed.version.number, 0
            if self._held is not None:
                self._held.read(db)
            tell(self.store.place, packed.left_out.values())
        self._catch_up(db, rows or ())

    def _catch_up(self, db: Session, rows: Sequence[int] | None) -> None:
        """Bring the snapshot to the version that `db` sees; `rows` were touched since, None if unknown."""
        if rows is None or len(rows) > max(MANY, SHARE * len(self._seen.snapshot)):
            self._load(db)
        elif newest(db) != self._seen.version:
            self._follow(db, rows)
        if self._stale() or due(self._seen.snapshot.state.arrangement) is not None:
            self._upkeep.wake()

    def _see(self, version: Version, view: View, state: State, left_out: dict[int, Stored]) -> None:
        """All of it at once, and last: whatever fails before leaves what was known, which is whole."""
        read = self.store.texts if self._held is None else self._held.items
        snapshot = Snapshot.of(version.number, view, state, lambda serials: read(serials.tolist()))
        self._seen = Seen(version, view, snapshot, dict(sorted(left_out.items())))

    def _load(self, db: Session) -> None:
        """Read all items, one lot of labels after the other."""
        view, left_out = (
            View(self._dimension, self._label_weight, Labels(), self._device, self._shards),
            dict[int, Stored](),
        )
        # Not into those of the snapshots until now: in another history a row stands for another item.
        held = None if self._held is None else HeldTexts()
        # Databases compare these byte by byte: in the order of the labels.
        of_label = [
            [row for row, _ in rows]
            for _, rows in groupby(
                db.each("SELECT row, label FROM items ORDER BY label, row"), lambda found: found[1]
            )
        ]

        def entries() -> Iterator[list[Entry]]:
            for lot in lots(list(map(len, of_label)), LOT):
                yield self._read(db, [row for rows in of_label[lot] for row in rows], left_out, held)

        state = view.first(entries(), sum(map(len, of_label)))
        self._held = held
        self._see(newest(db), view, state, left_out)
        self._kept, self._changed = -REMEMBERED, 0
        tell(self.store.place, self._seen.left_out.values())

    def _follow(self, db: Session, rows: Sequence[int]) -> None:
        """Bring the snapshot up to a version that differs in some rows."""
        seen, gone = self._seen, set(rows)
        left_out = {row: stored for row, stored in seen.left_out.items() if row not in gone}
        state = seen.view.next(
            seen.snapshot.state, rows, lambda some: self._read(db, some, left_out, self._held)
        )
        self._see(newest(db), seen.view, state, left_out)
        self._changed += len(rows)
        if self._held is not None:
            here = state.arrangement.holds(np.array(rows, np.int64)).tolist()
            self._held.drop(
                row for row, held in zip(rows, here, strict=True) if not held and row not in left_out
            )
        known = seen.left_out
        tell(self.store.place, [each for row, each in left_out.items() if known.get(row) != each])

    def _stale(self) -> bool:
        """Whether what is kept for the next start is too old, or is not there."""
        if self._shards is not None:
            return False
        version, items = self._seen.version, len(self._seen.snapshot)
        old = version.number - self._kept > REMEMBERED // 2
        return items >= LARGE and bool(version.name) and (old or self._changed > STALE * items)

    def _keep_up(self) -> bool:
        """In the background: put segments together, or keep what is searched. Whether there was any need."""
        seen = self._seen
        arrangement = seen.snapshot.state.arrangement
        parts = due(arrangement)
        if parts is not None:
            segments, rest = compacted(arrangement, parts)
            segments = [seen.view.kept(segment) for segment in segments]
            gone = [part.segment.number for part in parts]
            with self._lock:
                now = self._seen
                if now.view is seen.view:
                    state = now.snapshot.state
                    state = State(state.arrangement.compacted(gone, segments, rest), state.contents)
                    self._see(now.version, now.view, state, now.left_out)
            return True
        with self._lock:
            if not self._stale():
                return False
            seen = self._seen
            self._kept, self._changed = seen.version.number, 0
        try:
            save(self._pack, Packed(seen.version, self._model, seen.view, seen.snapshot.state, seen.left_out))
        except OSError as error:
            log.warning("%s cannot be written (%s): the next start takes longer", self._pack, error)
        return True

    def mend(self) -> None:
        """Have copies of shards that were started anew hold again what they should, from others or the store.

        Raises `GalleryError`: then it has to be tried again.
        """
        if self._shards is None:
            return
        # Before shards are asked: what is handed over meanwhile need not be there yet.
        parts = (elsewhere(part.segment.columns.vectors) for part in self._seen.snapshot.parts)
        mine = {vectors.name for vectors in parts if vectors is not None}
        if mine & self._shards.mend():
            log.warning("a shard of the gallery lost its segments: the gallery is read again")
            with self._lock, self._view() as db:
                self._load(db)

    def _read(
        self, db: Session, rows: Sequence[int], left_out: dict[int, Stored], held: HeldTexts | None
    ) -> list[Entry]:
        """The items in `rows` that can be searched; all others are `left_out`. Their texts are `held`."""
        found = list[Entry]()
        for stored in read_stored(db, self._model, self._dimension, rows):
            if held is not None and stored.texts is not None:
                held.put(stored.row, stored.texts)
            if stored.texts is None or stored.vector is None:
                left_out[stored.row] = stored
            else:
                found.append(entry_of(stored.row, read(stored.texts), stored.vector))
        return found

    def plain(self) -> tuple[list[Item], list[NDArray[np.float32]]]:
        """Items and their vectors before blending, from one version: for galleries that leave some out."""
        loaded = self.store.load(self._model, self._dimension)
        return loaded.items, loaded.vectors

    def missing(self) -> list[str]:
        """Ids of items without a sound vector by this model: they are not searched until it embeds them."""
        self.snapshot()
        return list(unembedded(self._seen.left_out.values()))

    def add(self, items: Sequence[NewItem]) -> int:
        """Add or replace items; durable when it returns the new version. `GalleryError` on a bad vector."""
        for new in items:
            self._check(new.vector)
        return self.store.add(items, self._model)

    def put(self, items: Sequence[NewItem], condition: Condition = if_new) -> tuple[int, list[Outcome]]:
        """Add or replace items where `condition` allows it; as `index.changes.put_items`."""
        for new in items:
            self._check(new.vector)
        return put_items(self.store, items, self._model, condition)

    def set_vectors(
        self, vectors: dict[str, NDArray[np.float32]], images: Mapping[str, bytes] | None = None
    ) -> int:
        """Give items that are there this model's vectors; returns the new version.

        `images`: the `image_checksum` that each is of; an item that has another image by now is passed over.
        """
        for vector in vectors.values():
            self._check(vector)
        return self.store.set_vectors(vectors, self._model, images)

    def _check(self, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self._dimension,):
            raise GalleryError(f"this gallery holds vectors of {self._dimension} numbers, got {vector.shape}")
