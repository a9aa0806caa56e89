"""What can go wrong with a gallery, and what SQLite's errors mean to whoever owns the file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class NotAGallery(Exception):
    """The file is another program's, or of a newer version of this one; it was not touched."""


class GalleryError(Exception):
    """The gallery refused, or cannot be used; the message says what to do."""


class ItemMissing(GalleryError):
    """There is no item with this id."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"the gallery has no item {id_!r}")


class ItemChanged(GalleryError):
    """The item is not the one that the change was meant for; nothing was changed."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"item {id_!r} was changed meanwhile: look at it again")


class ItemGone(GalleryError):
    """An item of a snapshot was deleted before its id and metadata were asked for: the next one lacks it."""

    def __init__(self) -> None:
        super().__init__("the gallery changed while it was read: try again")


class ItemDamaged(GalleryError):
    """What is stored of an item is not what was stored."""

    def __init__(self, id_: str) -> None:
        super().__init__(
            f"item {id_!r} was changed or damaged in the file: add it again, or restore an export"
        )


class NotReadYet(GalleryError):
    """What a filter asks for is still being read from the file, for about so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"what the filter asks for is being read, for {seconds:.0f} s more: try again then")
        self.seconds = seconds


class FilterTooLarge(GalleryError):
    """What a filter asks for takes more memory than filters may."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"what it asks for takes more than the {most_bytes} bytes that filters may take here: ask for"
            " another field, or have RETRIEVALGUARD_MAX_FILTER_BYTES raised"
        )


class StoreFailure(GalleryError):
    """The gallery file cannot be read or written; nothing of the change was stored."""


class StoreBusy(StoreFailure):
    """Somebody else changes the gallery for a long time, as a restore does: nothing was stored."""


class StoreUnreachable(StoreFailure):
    """The database is away for now: nothing was changed, and what was read from it is in memory."""


class ShardMissing(StoreFailure):
    """No copy of a shard answers as it has to, so that not all of the gallery was looked at."""

    def __init__(self, shard: int, reasons: Sequence[str]) -> None:
        why = "; ".join(reasons) or "no time was left"
        super().__init__(f"shard {shard} of the gallery cannot be asked ({why}): try again")
        self.shard = shard


class OutcomeUnknown(StoreFailure):
    """The database went away when it was told to store a change, and has not said whether it did."""


# How long a change waits for those before it. A restore may take longer.
BUSY_SECONDS = 30.0
BUSY = (
    "is being changed by somebody else for a long time, as by a restore: nothing of this change was stored;"
    " try again when that is done"
)
# What SQLite says when somebody else writes, and is not done in time.
_IS_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")

# What SQLite says, and the way out.
_WAYS_OUT = {
    "SQLITE_FULL": "cannot grow, the disk is full: free some space; the change was not stored",
    "SQLITE_READONLY": "cannot be written: check its owner, its permissions and those of its folder",
    "SQLITE_CANTOPEN": "cannot be opened: check its owner, its permissions and those of its folder",
    "SQLITE_PERM": "cannot be opened: check its owner, its permissions and those of its folder",
    "SQLITE_CORRUPT": "is damaged: restore it from an export (`retrievalguard gallery import`)",
    "SQLITE_NOTADB": "is no SQLite file: restore it from an export, or choose another data folder",
    "SQLITE_IOERR": "cannot be read or written, the disk fails: look at the system's log",
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite or the file system raises into a `StoreFailure`: the file, and the way out."""
    try:
        yield
    except NotAGallery as error:
        raise StoreFailure(f"{path} {error}") from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")  # of extended codes such as SQLITE_IOERR_WRITE
        if name.startswith(_IS_BUSY):
            raise StoreBusy(f"{path} {BUSY}") from error
        way = next(
            (way for code, way in _WAYS_OUT.items() if name.startswith(code)), f"cannot be used: {error}"
        )
        raise StoreFailure(f"{path} {way}") from error
    except OSError as error:
        raise StoreFailure(f"{path} cannot be used ({error.strerror or error})") from error
