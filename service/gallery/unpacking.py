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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from service.gallery.check import shown
from service.gallery.findings import ImportFailure, Refusal

# Read and written at a time, in bytes.
PIECE = 2**20
# The most that a library may read of an archive at once: longer headers and lists of files are an attack.
MOST_READ = 16 * 2**20
# Longer names are refused: no file system takes them.
LONGEST_NAME, LONGEST_PATH, DEEPEST = 255, 2_000, 32
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    UnicodeError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class UnpackLimits:
    """How many files an archive may hold, and how many bytes one of them, and all of them together."""

    files: int
    file_bytes: int
    total_bytes: int


def unpack(archive: Path, folder: Path, limits: UnpackLimits) -> list[Refusal]:
    """Unpack a zip, tar or tar.gz file into the new `folder`; what is too large is left out, and returned.

    Raises `ImportFailure` for any other file, one that is damaged, or over the limits; what was unpacked by
    then stays.
    """
    folder.mkdir(parents=True)
    left, count, refused = limits.total_bytes, 0, list[Refusal]()
    with _told(), archive.open("rb") as file:
        for name, content in _files(file):
            count += 1
            if count > limits.files:
                raise ImportFailure(f"the archive holds more than {limits.files} files: send it in parts")
            target = _inside(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            most = min(limits.file_bytes, left)
            size = _copy(content, target, most)
            if size > left:
                raise ImportFailure(
                    f"the archive unpacks to more than {limits.total_bytes} bytes: send it in parts"
                )
            if size > most:
                target.unlink()
                refused.append(Refusal(name, f"is larger than {limits.file_bytes} bytes"))
            left -= min(size, most)
    return refused


def _copy(content: IO[bytes], target: Path, most: int) -> int:
    """Write a new file, a byte more than `most` of it at most, and return how many bytes were read."""
    size = 0
    with target.open("xb") as written:
        while size <= most and (piece := content.read(min(PIECE, most + 1 - size))):
            size += len(piece)
            written.write(piece)
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
    """A file of which nobody reads more than `MOST_READ` at once: libraries hold headers in memory."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all there are; raises `ImportFailure` if that is more than may be."""
        found = self._file.read(MOST_READ + 1 if size < 0 else min(size, MOST_READ + 1))
        if len(found) > MOST_READ:
            raise ImportFailure("the archive has too long a header or list of files: send it in parts")
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


def _files(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in an archive, in its order."""
    magic = file.read(2)
    file.seek(0)
    if magic == b"PK":
        yield from _zip_files(_Guarded(file))
    elif magic == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield from _tar_files(_Guarded(unzipped))
    else:
        yield from _tar_files(_Guarded(file))


def _zip_files(file: _Guarded) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise ImportFailure(f"{shown(entry.filename)} in the archive is no plain file: leave it out")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ImportFailure(
                    "the archive is encrypted, or packed in a rare way: make it with plain zip"
                )
            with archive.open(entry) as content:
                yield entry.filename, content


def _tar_files(file: _Guarded) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for entry in archive:
            if entry.isdir():
                continue
            if not entry.isreg():
                raise ImportFailure(f"{shown(entry.name)} in the archive is no plain file: leave it out")
            content = archive.extractfile(entry)
            if content is not None:
                yield entry.name, content
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
