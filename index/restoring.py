"""A gallery put in the place of another: prepared beside it, checked, and swapped in one transaction."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from index.archive import import_gallery
from index.failures import GalleryError, told
from index.history import begin_anew, newest
from index.rows import DamagedItem, put_whole, whole_items
from index.sqlite_database import connected
from index.store import GalleryStore


@contextmanager
def prepared(store: GalleryStore, archive: Path) -> Iterator[Path]:
    """A gallery file beside that of `store`, with all that an export holds, until the end of the block.

    Raises `ArchiveDamaged`, or `StoreFailure`.
    """
    with (
        told(store.path.parent),
        tempfile.TemporaryDirectory(dir=store.path.parent, prefix=".gallery-restore-") as folder,
    ):
        path = Path(folder) / "gallery.sqlite3"
        draft = GalleryStore(path)
        try:
            import_gallery(draft, archive)
        finally:
            draft.close()
        yield path


def replace_all(store: GalleryStore, other: Path) -> tuple[int, int]:
    """Put all of the gallery file `other` in the place of what `store` has: the version, and how many items.

    Readers see the old gallery until all is there, and a crash leaves one or the other; other changes wait.
    Raises `StoreFailure`, or `GalleryError` if `other` is damaged.
    """
    writer = store.again()
    try:
        with told(other), closing(connected(other)) as source, writer.transaction() as db:
            db.execute("DELETE FROM items")
            count = 0
            for count, whole in enumerate(whole_items(source), start=1):  # noqa: B007 (it is returned)
                if isinstance(whole, DamagedItem):
                    raise GalleryError(
                        f"item {whole.id!r} was damaged meanwhile: the gallery was not changed"
                    )
                put_whole(db, whole)
            # So many rows at once are as good as another gallery: who knows the old one reads all of it.
            begin_anew(db, 1 + newest(db).number)
            return newest(db).number, count
    finally:
        writer.close()
