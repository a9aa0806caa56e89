"""Snapshots: exports of the gallery that stay in the data folder, and the way back to one."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from index import (
    ArchiveDamaged,
    Exported,
    Gallery,
    GalleryError,
    StoreFailure,
    export_gallery,
    prepared,
    replace_all,
)
from service.errors import (
    GalleryFailure,
    Overloaded,
    SnapshotExists,
    SnapshotInvalid,
    SnapshotNotFound,
    SnapshotOfAnotherModel,
)
from service.gallery.failing import failure
from service.gallery.intake import Intake
from service.gallery.replica import elsewhere

log = logging.getLogger("retrievalguard")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_END = ".sqlite3"


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot: when it was made, how large its file is in bytes, and which replica has it, of several."""

    name: str
    path: Path
    created: datetime
    size: int
    replica: str | None


class Snapshots:
    """The snapshots of one gallery in the folder `place`, at most `most`.

    `beside`: the gallery in another file, with what embeds for it by the same model. `replica`: whose they
    are, if there are several. Every method raises `GalleryFailure` where files cannot be read or written.
    """

    def __init__(
        self,
        place: Path,
        gallery: Gallery,
        beside: Callable[[Path], tuple[Gallery, Intake]],
        most: int,
        replica: str | None = None,
    ) -> None:
        self._replica = replica
        self._place, self._gallery, self._beside, self._most = place, gallery, beside, most
        self._busy = threading.Lock()

    def all(self) -> list[SnapshotFile]:
        """All snapshots, by name."""
        with _told():
            return [self._file(path) for path in sorted(self._place.glob(f"*{_END}")) if _is_ours(path)]

    def get(self, name: str) -> SnapshotFile:
        """One snapshot; raises `SnapshotNotFound`."""
        with _told():
            path = self._path(name)
            if not _is_ours(path):
                raise self._missing(name)
            return self._file(path)

    def create(self, name: str | None = None) -> tuple[SnapshotFile, Exported]:
        """Write the gallery as it is now to a new snapshot: that, and what it holds. No name: it is the time.

        Raises `SnapshotInvalid` for a name that cannot be one, `SnapshotExists`, or `Overloaded`.
        """
        wanted = f"{datetime.now(UTC):%Y%m%d-%H%M%S}" if name is None else name
        if not _NAME.fullmatch(wanted):
            raise SnapshotInvalid("a snapshot is called by letters, digits, `.`, `_` and `-`, 100 at most")
        with self._alone(), _told():
            path = self._path(wanted)
            if path.exists() or path.is_symlink():
                raise SnapshotExists(
                    f"there is a snapshot {wanted!r} already: delete it, or choose another name"
                )
            if len(self.all()) >= self._most:
                raise SnapshotExists(f"there are {self._most} snapshots already: delete one first")
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            done = export_gallery(self._gallery.store, path)
            for gallery in done.damaged_names:
                log.error("gallery %r is left out of snapshot %r: its filter is damaged", gallery, wanted)
            return self._file(path), done

    def delete(self, name: str) -> None:
        """Delete a snapshot; raises `SnapshotNotFound`."""
        path = self.get(name).path
        with _told(), suppress(FileNotFoundError):
            path.unlink()

    def restore(self, name: str, *, embed: bool = False) -> tuple[int, int]:
        """Put a snapshot in the place of the gallery: the new version, and how many items it has.

        The old gallery answers until the new one is whole and checked. `embed`: what the model that is served
        has not embedded; else `SnapshotOfAnotherModel` is raised. Raises `SnapshotNotFound`, or `Overloaded`.
        """
        archive = self.get(name).path
        with self._alone(), _told(), prepared(self._gallery.store, archive) as (path, with_names):
            gallery, intake = self._beside(path)
            try:
                missing = len(gallery.missing())
                if missing and not embed:
                    raise SnapshotOfAnotherModel(
                        f"the model that is served has not embedded {missing} items of this snapshot: restore"
                        " it with embed=true, or serve the model that it was made with"
                    )
                intake.embed_missing(lambda ids: ids)
            finally:
                gallery.close()
            return replace_all(self._gallery.store, path, with_names=with_names)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time: each takes the room of a gallery on the disk."""
        if not self._busy.acquire(blocking=False):
            raise Overloaded("a snapshot is being made or restored: try again later", retry_after=10)
        try:
            yield
        finally:
            self._busy.release()

    def _path(self, name: str) -> Path:
        """Where a snapshot of this name is; raises `SnapshotNotFound` for what cannot be a name."""
        if not _NAME.fullmatch(name):
            raise self._missing(name)
        return self._place / f"{name}{_END}"

    def _missing(self, name: str) -> SnapshotNotFound:
        return SnapshotNotFound(
            f"there is no snapshot {name[:100]!r}: see GET /gallery/snapshots{elsewhere(self._replica)}"
        )

    def _file(self, path: Path) -> SnapshotFile:
        status = path.stat()
        created = datetime.fromtimestamp(status.st_mtime, UTC)
        return SnapshotFile(path.name.removesuffix(_END), path, created, status.st_size, self._replica)


def _is_ours(path: Path) -> bool:
    """Whether this is a file that was made here: a link may lead anywhere."""
    return path.is_file() and not path.is_symlink()


@contextmanager
def _told() -> Iterator[None]:
    """What the gallery raises, as what a client is told."""
    try:
        yield
    except ArchiveDamaged as error:
        log.error("a snapshot was not read: %s", error)
        raise GalleryFailure("the snapshot is damaged: use another; the server's log tells more") from error
    except StoreFailure as error:
        raise failure(error, "a snapshot was not made or restored") from error
    except (GalleryError, OSError) as error:
        log.error("a snapshot was not made or restored: %s", error)
        raise GalleryFailure from error
