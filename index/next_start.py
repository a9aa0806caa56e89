"""What the next start of a gallery begins from, kept beside its file (`index.pack`): of use, and how old."""

import logging
from pathlib import Path

from index.database import Session, Version
from index.history import REMEMBERED, touched
from index.pack import Packed, load, save

log = logging.getLogger("retrievalguard")

# Galleries from this size on are kept as they are searched, and again once so much of them has changed.
LARGE, STALE = 20_000, 0.02


class NextStart:
    """The file at `path` (None: there is none), of the gallery as `model` sees it.

    Its vectors have `dimension` numbers before they are blended with a `label_weight`.
    """

    def __init__(self, path: Path | None, model: str, dimension: int, label_weight: float) -> None:
        self._path, self._seen = path, (model, dimension, label_weight)
        self._kept, self._changed = -REMEMBERED, 0

    def read(self, db: Session) -> tuple[Packed, list[int]] | None:
        """What an earlier process kept, and the rows that were touched since; None if it is of no use."""
        packed = None if self._path is None else load(self._path, *self._seen)
        rows = None if packed is None else touched(db, packed.version)
        if packed is None or rows is None:
            return None
        self._kept, self._changed = packed.version.number, 0
        return packed, list(rows)

    def changed(self, items: int) -> None:
        """So many items are others than those that are kept."""
        self._changed += items

    def outdated(self) -> None:
        """All are."""
        self._kept, self._changed = -REMEMBERED, 0

    def stale(self, version: Version, items: int) -> bool:
        """Whether a gallery of so many items should be kept as it is now."""
        if self._path is None:
            return False
        old = version.number - self._kept > REMEMBERED // 2
        return items >= LARGE and bool(version.name) and (old or self._changed > STALE * items)

    def begun(self, version: Version) -> None:
        """This version is being kept: changes count from it on."""
        self._kept, self._changed = version.number, 0

    def write(self, packed: Packed) -> None:
        """Keep it, if there is a place for it."""
        if self._path is None:
            return
        try:
            save(self._path, packed)
        except OSError as error:
            log.warning("%s cannot be written (%s): the next start takes longer", self._path, error)
