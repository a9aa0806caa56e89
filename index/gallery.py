"""The gallery in use: the store, and the snapshot of its newest version."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from index.compaction import compacted, due
from index.database import Place, Session, Version
from index.device import Device
from index.embedded import EmbeddedItems
from index.entries import Stored, damaged, tell, unembedded
from index.failures import StoreFailure, StoreUnreachable
from index.filters import Filter
from index.growth import LOT, Entry, State, View, lots
from index.held import HeldTexts
from index.history import newest, touched
from index.labels import Labels
from index.next_start import NextStart
from index.reading import Reading, rows_by_label
from index.seen import Seen
from index.shards.coordinator import Shards
from index.shards.elsewhere import elsewhere
from index.shards.mending import Mending
from index.snapshot import Snapshot
from index.store import GalleryStore
from index.upkeep import Upkeep
from index.views import Views

log = logging.getLogger("retrievalguard")

# A change that touches more items than this, and more than this share of them, is as good as another gallery.
MANY, SHARE = 10_000, 0.25
FILTER_BYTES = 256 * 2**20


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
        embedded = EmbeddedItems(self.store, model, dimension)
        self.plain, self.add = embedded.plain, embedded.add
        self.put, self.set_vectors = embedded.put, embedded.set_vectors
        # A pack holds vectors: where these are elsewhere, there is none.
        pack = self.store.path.with_suffix(".pack") if shards is None else None
        self._next_start = NextStart(pack, model, dimension, label_weight)
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

    def snapshot_at_once(self) -> Snapshot | None:
        """The newest version, for who must not wait; None if it is not here yet, or that cannot be told."""
        version, seen = self.store.newest_at_once(), self._seen
        return seen.snapshot if version == seen.version else None

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
        found, rows = self._next_start.read(db), list[int]()
        if found is None:
            self._load(db)
        else:
            packed, rows = found
            view = replace(packed.view, device=self._device)
            self._see(packed.version, view, packed.state, packed.left_out)
            if self._held is not None:
                self._held.read(db)
            tell(self.store.place, packed.left_out.values())
        self._catch_up(db, rows)

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
        view = View(self._dimension, self._label_weight, Labels(), self._device, self._shards)
        # Not into those of the snapshots until now: in another history a row stands for another item.
        held = None if self._held is None else HeldTexts()
        reading = Reading(self._model, self._dimension, {}, held)
        of_label = list(rows_by_label(db))

        def entries() -> Iterator[list[Entry]]:
            for lot in lots(list(map(len, of_label)), LOT):
                yield reading.entries(db, [row for rows in of_label[lot] for row in rows])

        state = view.first(entries(), sum(map(len, of_label)))
        self._held = held
        self._see(newest(db), view, state, reading.left_out)
        self._next_start.outdated()
        tell(self.store.place, self._seen.left_out.values())

    def _follow(self, db: Session, rows: Sequence[int]) -> None:
        """Bring the snapshot up to a version that differs in some rows."""
        seen, gone = self._seen, set(rows)
        left_out = {row: stored for row, stored in seen.left_out.items() if row not in gone}
        reading = Reading(self._model, self._dimension, left_out, self._held)
        state = seen.view.next(seen.snapshot.state, rows, lambda some: reading.entries(db, some))
        self._see(newest(db), seen.view, state, left_out)
        self._next_start.changed(len(rows))
        if self._held is not None:
            here = state.arrangement.holds(np.array(rows, np.int64)).tolist()
            self._held.drop(
                row for row, held in zip(rows, here, strict=True) if not held and row not in left_out
            )
        known = seen.left_out
        tell(self.store.place, [each for row, each in left_out.items() if known.get(row) != each])

    def _stale(self) -> bool:
        """Whether what is kept for the next start is too old, or is not there."""
        return self._next_start.stale(self._seen.version, len(self._seen.snapshot))

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
            self._next_start.begun(seen.version)
        self._next_start.write(seen.packed(self._model))
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

    def missing(self) -> list[str]:
        """Ids of items without a sound vector by this model: they are not searched until it embeds them."""
        self.snapshot()
        return list(unembedded(self._seen.left_out.values()))
