"""A gallery put in the place of another: prepared beside it, checked, and swapped in one transaction."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from index.archive import read_archive
from index.database import Session
from index.failures import GalleryError, StoreFailure, told
from index.history import begin_anew, newest
from index.names import put_names, sound_names
from index.rows import DamagedItem, WholeItem, new_row, whole_items
from index.sqlite_database import connected
from index.store import GalleryStore

# How often it is looked whether the database hangs.
WATCHED_SECONDS = 1.0


@contextmanager
def prepared(store: GalleryStore, archive: Path) -> Iterator[tuple[Path, bool]]:
    """A gallery file beside that of `store`, with all that an export holds, until the end of the block.

    And whether the export is of a kind that holds names; older ones do not. Raises `ArchiveDamaged`, or
    `StoreFailure`.
    """
    with (
        told(store.path.parent),
        tempfile.TemporaryDirectory(dir=store.path.parent, prefix=".gallery-restore-") as folder,
    ):
        path = Path(folder) / "gallery.sqlite3"
        draft = GalleryStore(path)
        try:
            _, with_names = read_archive(draft, archive)
        finally:
            draft.close()
        yield path, with_names


def replace_all(store: GalleryStore, other: Path, *, with_names: bool) -> tuple[int, int]:
    """Put all of the gallery file `other` in the place of what `store` has: the version, and how many items.

    `with_names`: its names too, else those of `store` stay.

    Readers see the old gallery until all is there, and a crash leaves one or the other; other changes wait.
    Raises `StoreFailure`, also if another change takes too long, or `GalleryError` if `other` is damaged.
    """
    writer = store.again()
    try:
        with (
            _watched(writer),
            told(other),
            closing(connected(other)) as source,
            writer.transaction() as db,
        ):
            db.execute("DELETE FROM items")
            count = db.fill(map(new_row, _undamaged(source)))
            if with_names:
                db.execute("DELETE FROM named")
                put_names(db, sound_names(source)[0])
            # So many rows at once are as good as another gallery: who knows the old one reads all of it.
            begin_anew(db, 1 + newest(db).number)
            return newest(db).number, count
    finally:
        writer.close()


def _undamaged(db: Session) -> Iterator[WholeItem]:
    """All items; `GalleryError` at the first that is not what was checked before."""
    for whole in whole_items(db):
        if isinstance(whole, DamagedItem):
            raise GalleryError(f"item {whole.id!r} was damaged meanwhile: the gallery was not changed")
        yield whole


@contextmanager
def _watched(store: GalleryStore) -> Iterator[None]:
    """Ask for the version again and again: that cuts off a server that hangs, for which this would wait."""
    store.follow()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCHED_SECONDS):
            with suppress(StoreFailure):
                store.newest()

    watching = threading.Thread(target=watch, name="restore-watch", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
