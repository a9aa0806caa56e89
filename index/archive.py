"""Exports of a gallery: one file that holds all of it, made while it is in use, checked before it is read.

An archive is a gallery file in one piece: copying `gallery.sqlite3` would miss what is still in its
write-ahead log. It is taken for hostile: nothing in it is executed, and every row has to check out.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from index.database import Session
from index.failures import GalleryError, told
from index.history import begin_anew
from index.names import put_names, sound_names
from index.rows import DamagedItem, WholeItem, new_row, put_whole, whole_items
from index.schema import STEPS, WITH_NAMES, parts, parts_of, upgrade
from index.sqlite_database import SqliteConnection, connected
from index.store import GalleryStore

# Where the header of an SQLite file says that it has a write-ahead log beside it, and what it says then.
_LOG_AT, _HAS_LOG = slice(18, 20), b"\x02\x02"
_WAY_OUT = "use another export"


class ArchiveDamaged(GalleryError):
    """The archive is not what an export wrote; nothing of it was read into the gallery."""


@dataclass(frozen=True)
class Exported:
    """What an archive holds: a version of the gallery, and how many items.

    damaged           ids of items that are left out, because they are not what was stored
    damaged_vectors   how many vectors are left out; the next start after an import embeds them anew
    damaged_names     named galleries that are left out, because their filters are none
    """

    version: int
    items: int
    damaged: tuple[str, ...]
    damaged_vectors: int
    damaged_names: tuple[str, ...]


def export_gallery(store: GalleryStore, archive: Path, *, overwrite: bool = False) -> Exported:
    """Write one consistent version of the gallery to `archive`; readers and writers go on meanwhile.

    What is damaged is left out, so that the rest can be restored. The file is read back, and put in place
    last: it is there whole or not at all, and its owner's alone. Raises `StoreFailure`, or `GalleryError` if
    `archive` is there and is not to be overwritten.
    """
    _check_place(archive, overwrite)
    with told(archive), tempfile.TemporaryDirectory(dir=archive.parent, prefix=".gallery-export-") as folder:
        draft = Path(folder) / "archive"
        draft.touch(mode=0o600)
        done = _write(store, draft, archive)
        with _opened(draft, archive) as (db, _):
            for _ in _sound(db, archive):
                pass
        _sync(draft)
        _check_place(archive, overwrite)
        draft.replace(archive)
        _sync(archive.parent)
    return done


def import_gallery(store: GalleryStore, archive: Path) -> int:
    """Read all of `archive` into an empty gallery, or nothing, and return how many items that are.

    Names that the gallery has stay. Raises `ArchiveDamaged`, `StoreFailure`, or `GalleryError` if the gallery
    has items, or gives one of the names to another filter.
    """
    return read_archive(store, archive)[0]


def read_archive(store: GalleryStore, archive: Path) -> tuple[int, bool]:
    """As `import_gallery`: how many items that are, and whether the archive is of a kind that holds names."""
    with told(archive):
        if not archive.is_file():
            raise ArchiveDamaged(f"{archive} is not a file")
        with archive.open("rb") as file:
            if file.read(100)[_LOG_AT] == _HAS_LOG:
                raise ArchiveDamaged(
                    f"{archive} is a copy of a gallery file, not an export: what was added last may be"
                    " missing from it. Without an export: put it, and the -wal that was beside it, into an"
                    " empty data folder under the name gallery.sqlite3"
                )
    with (
        told(store.path.parent),
        tempfile.TemporaryDirectory(dir=store.path.parent, prefix=".gallery-import-") as folder,
    ):
        draft = Path(folder) / "archive"  # nobody changes it between the check and the copy
        draft.touch(mode=0o600)
        shutil.copyfile(archive, draft)
        with _opened(draft, archive) as (db, layout):
            for _ in _sound(db, archive):
                pass
            return _fill(store, _sound(db, archive), db), layout >= WITH_NAMES


def _write(store: GalleryStore, draft: Path, archive: Path) -> Exported:
    """Copy what is sound in the gallery to the empty file `draft` of `archive`."""
    items, damaged_vectors, damaged = 0, 0, list[str]()
    with store.scan() as source, closing(connected(draft)) as target:
        version = _version(source)
        with told(archive):
            target.execute("PRAGMA synchronous=OFF")  # it is synced once, as a whole
            upgrade(target)
            target.execute("BEGIN")
            target.execute("UPDATE gallery SET version = ?", (version,))
        for whole in whole_items(source):
            if isinstance(whole, DamagedItem):
                damaged.append(whole.id)
                continue
            with told(archive):
                put_whole(target, whole)
            items += 1
            damaged_vectors += whole.damaged_vectors
        names, damaged_names = sound_names(source)
        with told(archive):
            put_names(target, names)
            target.execute("COMMIT")
    return Exported(version, items, tuple(damaged), damaged_vectors, tuple(damaged_names))


@contextmanager
def _opened(draft: Path, archive: Path) -> Iterator[tuple[SqliteConnection, int]]:
    """The draft of `archive`, whole in its structure, holding data alone, in the newest layout.

    And the layout that it had.
    """
    with closing(connected(draft)) as db:
        with told(archive):
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            kinds = {row[0] for row in db.execute("SELECT type FROM sqlite_master")}
            if not kinds <= {b"table", b"index"}:
                raise ArchiveDamaged(f"{archive} holds triggers or views, which no export does")
            if not kinds:
                raise ArchiveDamaged(f"{archive} is empty: {_WAY_OUT}")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != b"ok":
                raise ArchiveDamaged(f"{archive} is damaged: {_WAY_OUT}")
            layout = int(db.execute("PRAGMA user_version").fetchone()[0])
            upgrade(db)
            if parts(db) != parts_of(len(STEPS)):
                raise ArchiveDamaged(f"{archive} has other tables than an export has")
        yield db, layout


def _sound(db: Session, archive: Path) -> Iterator[WholeItem]:
    """Every item of an archive; `ArchiveDamaged` at the first, or at a name, that is not what was stored."""
    ids = set[str]()
    with told(archive):
        for name in sound_names(db)[1]:
            raise ArchiveDamaged(f"{archive}: the filter of {name!r} is not what was stored: {_WAY_OUT}")
        for whole in whole_items(db):
            if isinstance(whole, DamagedItem):
                raise ArchiveDamaged(f"{archive}: item {whole.id!r} is not what was stored: {_WAY_OUT}")
            if whole.damaged_vectors:
                raise ArchiveDamaged(f"{archive}: a vector of item {whole.item.id!r} is damaged: {_WAY_OUT}")
            if whole.item.id in ids:
                raise ArchiveDamaged(f"{archive} holds item {whole.item.id!r} twice: {_WAY_OUT}")
            ids.add(whole.item.id)
            yield whole


def _fill(store: GalleryStore, items: Iterator[WholeItem], source: Session) -> int:
    """All items, in one transaction of the gallery that is there."""
    with store.transaction() as db:
        held = int(db.execute("SELECT COUNT(*) FROM items").fetchone()[0])
        if held:
            raise GalleryError(
                f"the gallery in {store.place} has {held} items: import into an empty one"
                " (another RETRIEVALGUARD_DATA_DIR), so that nothing is mixed or lost"
            )
        count = db.fill(map(new_row, items))
        there, added = sound_names(db)[0], sound_names(source)[0]
        for name in there.keys() & added.keys():
            if there[name] != added[name]:
                raise GalleryError(f"{store.place} has another gallery {name!r}: take that name away first")
        put_names(db, {name: text for name, text in added.items() if name not in there})
        begin_anew(db, 1 + max(_version(db), _version(source)))
        return count


def _version(db: Session) -> int:
    return int(db.execute("SELECT version FROM gallery").fetchone()[0])


def _check_place(archive: Path, overwrite: bool) -> None:
    if archive.exists() and not (overwrite and archive.is_file()):
        raise GalleryError(f"{archive} is there already: choose another name, or --overwrite")


def _sync(path: Path) -> None:
    """So that a file, or a new name in a folder, survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
