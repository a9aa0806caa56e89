"""The views that filters make of the newest snapshot, and what is kept to make them."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from index.columns import Columns
from index.database import Session, Version
from index.failures import FilterTooLarge, GalleryError, NotReadYet, StoreFailure
from index.fields import LOT, Field, chosen, field_of, last_row
from index.filters import All, Condition, Filter, Not, Part
from index.history import follows
from index.history import newest as version_of
from index.snapshot import Snapshot
from index.store import GalleryStore

Thing = TypeVar("Thing")
# Seconds after which to ask again, at least.
AGAIN = 1.0
# How long the end waits for what is done in the background.
CLOSE_SECONDS = 10.0
# Bytes of what is kept, beside its arrays and its name.
BESIDE = 4096
Mask = NDArray[np.bool_]
# Which of some items are wanted.
Wanted = Callable[[Columns], Mask]
# The file as it is, and the snapshot of just that; nobody makes another one meanwhile.
Newest = Callable[[], AbstractContextManager[tuple[Session, Snapshot]]]


class Recent(Generic[Thing]):
    """What was used last, up to so many bytes. Whoever uses it holds a lock."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept = OrderedDict[str, tuple[Thing, int]]()

    def get(self, name: str) -> Thing | None:
        """The thing of this name, if it is kept."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def put(self, name: str, thing: Thing, size: int) -> None:
        """Keep a thing, which takes so many bytes by now."""
        self._bytes -= self._kept.pop(name, (thing, 0))[1]
        size += len(name) + BESIDE
        if size > self._most:  # alone it would drive out all others
            return
        self._bytes += size
        self._kept[name] = thing, size
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1][1]

    def drop(self, name: str) -> None:
        """Keep the thing of this name no longer."""
        if name in self._kept:
            self._bytes -= self._kept.pop(name)[1]


class Views:
    """Views of the newest snapshot of the gallery in `store`. Threads may share it.

    What was read of metadata and ids takes up to `most_bytes`, what is being read for one filter as much
    again, and so do all views of one snapshot. They are dropped with it; what was read serves the next one.
    """

    def __init__(self, store: GalleryStore, most_bytes: int) -> None:
        self._store, self._most = store, most_bytes
        self._making, self._lock = threading.Lock(), threading.Lock()
        self._behind: threading.Thread | None = None
        self._closing = False
        # With the version that each was read of: rows stand for their items in its history.
        self._fields = Recent[tuple[Field, Version]](most_bytes)
        self._views = WeakKeyDictionary[Snapshot, Recent[Snapshot]]()
        # Fields that took too much memory together, so that they are not read again for nothing.
        self._large = WeakKeyDictionary[Snapshot, Recent[bool]]()

    def close(self) -> None:
        """End what is read in the background; a disk that hangs is left to it."""
        self._closing = True
        behind = self._behind
        if behind is not None:
            behind.join(CLOSE_SECONDS)

    def of(
        self, snapshot: Snapshot, wanted: Filter, newest: Newest, seconds: float | None = None
    ) -> Snapshot:
        """The items that `wanted` matches of `snapshot`, or of a newer one, within so many `seconds`.

        Raises `StoreFailure`; `FilterTooLarge`; and `NotReadYet` if there is more to read of the file than
        can be in time: that is done in the background then, for whoever asks again.
        """
        view = self._known(snapshot, wanted)
        if view is not None:
            return view
        if self._is_large(snapshot, wanted):
            raise FilterTooLarge(self._most)
        started = time.monotonic()
        if not self._making.acquire(timeout=-1 if seconds is None else seconds):
            raise NotReadYet(AGAIN)
        try:
            until = math.inf if seconds is None else started + seconds
            return self._made_in_little(wanted, newest, until)
        except FilterTooLarge:
            with self._lock:
                large = self._large.setdefault(snapshot, Recent(self._most))
                large.put(_names(wanted), True, 0)
            raise
        except NotReadYet:
            self._read_on(snapshot, wanted, newest)
            raise
        finally:
            self._making.release()

    def _made_in_little(self, wanted: Filter, newest: Newest, until: float) -> Snapshot:
        """The view; fields that were kept, and know many items that are gone, are read anew if need be."""
        kept = [one.field for one in wanted.conditions if self._fields.get(one.field) is not None]
        try:
            return self._made(wanted, newest, until)
        except FilterTooLarge:
            if not kept:
                raise
            for name in kept:
                self._fields.drop(name)
        return self._made(wanted, newest, until)

    def _made(self, wanted: Filter, newest: Newest, until: float) -> Snapshot:
        asked = {one.field: one for one in wanted.conditions if one.field != "label"}
        known = {name: kept for name in asked if (kept := self._fields.get(name)) is not None}
        try:
            with self._store.scan() as db:  # most of it here, where nobody has to wait for it
                known = _of_history(db, asked, known)
                self._read(db, [field for field, _ in known.values()], until)
            # An item that is in this file has been there since it got its number: so it was read.
            with newest() as (db, snapshot):
                view = self._known(snapshot, wanted)
                if view is not None:
                    return view
                known = _of_history(db, asked, known)
                self._read(db, [field for field, _ in known.values()], math.inf)
        finally:
            for name, kept in known.items():
                self._fields.put(name, kept, kept[0].bytes)
        fields = {name: field for name, (field, _) in known.items()}
        _check(fields, snapshot)
        view = snapshot.only(_test(wanted.root, fields, snapshot))
        with self._lock:
            views = self._views.setdefault(snapshot, Recent(self._most))
            views.put(wanted.text, view, view.bytes)
        return view

    def _read(self, db: Session, fields: list[Field], until: float) -> None:
        """Bring `fields` up to `db`; raises `NotReadYet` at the time `until`, or `FilterTooLarge`."""
        self._check_room(fields)
        for number, field in enumerate(fields):
            started, first = time.monotonic(), None
            with closing(field.read(db)) as lots:
                for row in lots:
                    self._check_room(fields)
                    first = row if first is None else first
                    if time.monotonic() < until and not self._closing:
                        continue
                    last = last_row(db)
                    left = last - row + (len(fields) - number - 1) * last
                    if left:
                        each = (time.monotonic() - started) / (row - first + LOT)
                        raise NotReadYet(max(each * left, AGAIN))

    def _check_room(self, fields: list[Field]) -> None:
        if sum(field.bytes for field in fields) > self._most:
            raise FilterTooLarge(self._most)

    def _is_large(self, snapshot: Snapshot, wanted: Filter) -> bool:
        """Whether it was found that the fields of `wanted` take too much memory."""
        with self._lock:
            large = self._large.get(snapshot)
            return large is not None and large.get(_names(wanted)) is not None

    def _read_on(self, snapshot: Snapshot, wanted: Filter, newest: Newest) -> None:
        """Have the view made in the background, if none is being made there. Whoever asks holds the lock."""

        def make() -> None:
            with suppress(GalleryError):  # whoever asks again meets it, too
                self.of(snapshot, wanted, newest)

        if not self._closing and (self._behind is None or not self._behind.is_alive()):
            self._behind = threading.Thread(target=make, name="filter", daemon=True)
            self._behind.start()

    def _known(self, snapshot: Snapshot, wanted: Filter) -> Snapshot | None:
        with self._lock:
            views = self._views.get(snapshot)
            return None if views is None else views.get(wanted.text)


def _of_history(
    db: Session, asked: Mapping[str, Condition], known: Mapping[str, tuple[Field, Version]]
) -> dict[str, tuple[Field, Version]]:
    """What answers each of `asked`, to be read on in `db`: what is `known`, if `db` came of its version."""
    now, found = version_of(db), dict[str, tuple[Field, Version]]()
    for name, condition in asked.items():
        kept = known.get(name)
        field = kept[0] if kept is not None and follows(db, kept[1]) else field_of(condition)
        found[name] = field, now
    return found


def _check(fields: dict[str, Field], snapshot: Snapshot) -> None:
    """Raise `StoreFailure` if it is not known what was stored of an item that is searched."""
    damaged = np.concatenate([np.zeros(0, np.int64), *(field.damaged for field in fields.values())])
    if len(damaged) and (count := len(snapshot.only(_by_serial(damaged)))):
        raise StoreFailure(
            f"{count} items were changed or damaged in the file, so that it is not known which ones a filter"
            " matches: add the folder again, or restore an export"
        )


def _names(wanted: Filter) -> str:
    """The fields of a filter, as one text."""
    return repr(sorted({one.field for one in wanted.conditions}))


def _test(part: Part, fields: dict[str, Field], snapshot: Snapshot) -> Wanted:
    """Which items meet `part`."""
    if isinstance(part, Condition):
        if part.field == "label":
            return _by_label(part, snapshot)
        return _by_serial(fields[part.field].serials(part))
    if isinstance(part, Not):
        inner = _test(part.part, fields, snapshot)
        return lambda columns: ~inner(columns)
    tests = [_test(one, fields, snapshot) for one in part.parts]
    join = np.logical_and if isinstance(part, All) else np.logical_or
    everything = isinstance(part, All)

    def together(columns: Columns) -> Mask:
        found = np.full(len(columns), everything)
        for test in tests:
            join(found, test(columns), out=found)
        return found

    return together


def _by_label(condition: Condition, snapshot: Snapshot) -> Wanted:
    names = snapshot.label_names[:]
    wanted = np.zeros(len(names), np.bool_)
    wanted[chosen({name: number for number, name in enumerate(names)}, condition)] = True
    return lambda columns: wanted[columns.labels]


def _by_serial(serials: NDArray[np.int64]) -> Wanted:
    wanted = np.zeros(int(serials.max(initial=0)) + 2, np.bool_)  # the last is for all larger numbers
    wanted[serials] = True
    return lambda columns: wanted[np.minimum(columns.serials, len(wanted) - 1)]
