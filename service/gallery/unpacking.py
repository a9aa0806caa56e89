"""Archives that somebody sends: unpacked into a folder, and nowhere else, in bounded room.

Of an archive only plain files are taken: links and devices are refused, as are names that lead outside. What
a file says of its size is not believed: bytes are counted as they come.
"""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from service.gallery.check import shown
from service.gallery.findings import ImportFailure, Refusal, Stopped

# Read and written at a time, in bytes.
PIECE = 2**20
# The most that a library may read of an archive, which it holds in memory, before it comes to the next file:
# longer headers and lists of files are an attack. A zip has one list of all files, a tar headers before each,
# of which some versions of `tarfile` make quadratic room.
MOST_ZIP_READ, MOST_TAR_READ = 16 * 2**20, 16 * 2**10
# Longer names are refused: no file system takes them.
LONGEST_NAME, LONGEST_PATH, DEEPEST = 255, 2_000, 32
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    UnicodeError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class UnpackLimits:
    """How many files and folders an archive may hold, and how many bytes a file, and all files together."""

    files: int
    file_bytes: int
    total_bytes: int


# Name of a file, how many bytes must be unpacked to come to the next one, and its content; None: a folder.
_Entry = tuple[str, int, IO[bytes] | None]


def unpack(
    archive: Path, folder: Path, limits: UnpackLimits, stopped: Callable[[], bool] = lambda: False
) -> list[Refusal]:
    """Unpack a zip, tar or tar.gz file into the new `folder`; what is too large is left out, and returned.

    Raises `ImportFailure` for any other file, one that is damaged, or over the limits, and `Stopped` if
    `stopped` says so, which is asked for each piece; what was unpacked by then stays.
    """
    folder.mkdir(parents=True)
    left, count, refused = limits.total_bytes, 0, list[Refusal]()
    with _told(), archive.open("rb") as file:
        for name, length, content in _files(file):
            count += 1
            if count > limits.files:
                raise ImportFailure(
                    f"the archive holds more than {limits.files} files and folders: send it in parts"
                )
            if stopped():
                raise Stopped
            if content is None:
                continue
            target = _inside(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            most = min(limits.file_bytes, left)
            size = max(_copy(content, target, most, stopped), length)
            if size > left:
                raise ImportFailure(
                    f"the archive unpacks to more than {limits.total_bytes} bytes: send it in parts"
                )
            if size > most:
                target.unlink()
                refused.append(Refusal(name, f"is larger than {limits.file_bytes} bytes"))
            left -= size
    return refused


def _copy(content: IO[bytes], target: Path, most: int, stopped: Callable[[], bool]) -> int:
    """Write a new file, a byte more than `most` of it at most, and return how many bytes were read."""
    size = 0
    with target.open("xb") as written:
        while size <= most and (piece := content.read(min(PIECE, most + 1 - size))):
            size += len(piece)
            written.write(piece)
            if stopped():
                raise Stopped
    return size


def top_folder(folder: Path) -> Path:
    """Where items begin: `folder`, or the only folder in it if that holds folders or a table, and no image.

    Archives often hold one folder that has the name of the archive, which is no label.
    """
    entries = [entry for entry in folder.iterdir() if not _is_hidden(entry)]
    if len(entries) != 1 or not entries[0].is_dir():
        return folder
    inside = [entry for entry in entries[0].iterdir() if not _is_hidden(entry)]
    tables = [entry for entry in inside if is_table(entry)]
    return entries[0] if tables or (inside and all(entry.is_dir() for entry in inside)) else folder


def is_table(path: Path) -> bool:
    """Whether this is a table of items by its name."""
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".jsonl")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() == "__macosx"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ImportFailure(f"the archive cannot be read to its end ({error}): make it again") from error
    except FileExistsError as error:
        raise ImportFailure("the archive holds a name twice, or a file in place of a folder") from error


class _Guarded(io.RawIOBase):
    """An archive of which a library reads `most` bytes at most before it comes to the next file.

    It holds in memory what it reads. What is read of the content of files is bounded by who reads it.
    """

    def __init__(self, file: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self._file, self._most, self._left = file, most, most
        self._of_content = False

    @contextmanager
    def content(self) -> Iterator[None]:
        """What is read in here is content of a file; what follows belongs to the next."""
        self._of_content = True
        yield
        self._of_content = False
        self._left = self._most

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all there are; raises `ImportFailure` if that is more than may be."""
        if self._of_content:
            return self._file.read(size)
        found = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(found)
        if self._left < 0:
            raise ImportFailure(
                "the archive has too long a header or list of files: send it in parts, and without extended"
                " attributes"
            )
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """As of any file."""
        return True

    def readable(self) -> bool:
        """As of any file."""
        return True


def _files(file: IO[bytes]) -> Iterator[_Entry]:
    """Each file and folder in an archive, in its order; the content is read before the next is asked for."""
    magic = file.read(2)
    file.seek(0)
    if magic == b"PK":
        yield from _zip_files(_Guarded(file, MOST_ZIP_READ))
    elif magic == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield from _tar_files(_Guarded(unzipped, MOST_TAR_READ))
    else:
        yield from _tar_files(_Guarded(file, MOST_TAR_READ))


def _zip_files(file: _Guarded) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                yield entry.filename, 0, None
                continue
            if kind not in (0, stat.S_IFREG):
                raise ImportFailure(f"{shown(entry.filename)} in the archive is no plain file: leave it out")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ImportFailure(
                    "the archive is encrypted, or packed in a rare way: make it with plain zip"
                )
            with archive.open(entry) as content, file.content():
                yield entry.filename, 0, content


def _tar_files(file: _Guarded) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (entry := archive.next()) is not None:
            # The library keeps every header, and copies the global ones for each file.
            archive.members.clear()  # type: ignore[attr-defined]
            archive.pax_headers = {}
            if not entry.isdir() and (not entry.isreg() or entry.issparse()):
                raise ImportFailure(f"{shown(entry.name)} in the archive is no plain file: leave it out")
            content = archive.extractfile(entry)  # None of a folder
            with file.content():
                yield entry.name, entry.size, content
        # The library takes a header that is none for the end.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ImportFailure("the archive is cut off, or damaged in the middle: make it again")


def _inside(folder: Path, name: str) -> Path:
    """Where a file of this name goes. Raises `ImportFailure` for a name that leads outside, or is none."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part != "."]
    if (
        path.is_absolute()
        or not parts
        or ".." in parts
        or "\0" in name
        or "\\" in name
        or len(parts) > DEEPEST
        or len(name.encode(errors="surrogateescape")) > LONGEST_PATH
        or max(len(part.encode(errors="surrogateescape")) for part in parts) > LONGEST_NAME
    ):
        raise ImportFailure(
            f"{shown(name)} in the archive is no name of a file inside of it: nothing was added"
        )
    return folder.joinpath(*parts)


def remove(folder: Path) -> None:
    """Remove a folder and all that was unpacked there; one that is not there is none."""
    shutil.rmtree(folder, ignore_errors=True)
