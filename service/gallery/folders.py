"""A folder as a source: LABEL/IMAGE.png, at any depth below the label."""

import os
from pathlib import Path

from service.gallery.check import ItemRefused
from service.gallery.findings import Collector, check_plain

# What systems and editors leave in folders; names that begin with a dot are theirs, too.
SYSTEM = frozenset(
    {
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    }
)
# Pictures in formats that are not read; they are told apart from files that are no pictures.
OTHER_FORMATS = frozenset(
    {
        ".avif", ".bmp", ".cr2", ".dng", ".eps", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".nef",
        ".pdf", ".ppm", ".psd", ".raw", ".svg", ".tga", ".tif", ".tiff",
    }
)  # fmt: skip
# The first bytes of the formats that are read: bytes decide what a file is, not its name.
HEAD_BYTES = 12


def read_folder(folder: Path, collector: Collector) -> None:
    """Tell `collector` of every entry of `folder`."""
    _read(folder, folder, collector, ancestors=())


def is_image(head: bytes) -> bool:
    """Whether a file that begins with these HEAD_BYTES says that it is PNG, JPEG or WebP."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4], head[8:12]) == (
        b"RIFF",
        b"WEBP",
    )


def _read(root: Path, folder: Path, collector: Collector, ancestors: tuple[tuple[int, int], ...]) -> None:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        collector.refuse(str(folder), f"cannot be read: {error.strerror}")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        collector.skip("link to a folder that it is in")
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name.casefold() in SYSTEM:
            collector.skip("hidden or system")
        elif entry.is_symlink() and not collector.bounds.allow(path):
            collector.refuse(entry.path, "is a link that leads out of the folder")
        elif entry.is_dir():
            _read(root, path, collector, (*ancestors, identity))
        else:
            _read_file(root, path, collector)


def _read_file(root: Path, path: Path, collector: Collector) -> None:
    inside = path.relative_to(root)
    try:
        check_plain(path)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        collector.refuse(str(path), f"cannot be read: {error.strerror}")
        return
    if not is_image(head) and path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        if path.suffix.lower() in OTHER_FORMATS:
            collector.skip(f"format {path.suffix.lower()}, convert it to PNG, JPEG or WebP")
        else:
            collector.skip("no image")
    elif len(inside.parts) == 1:
        collector.skip("not in the folder of a label")
    else:
        collector.add(str(path), lambda: (_utf8(inside.as_posix()), inside.parts[0], {}, path))


def _utf8(name: str) -> str:
    """The name, which is an id; `ItemRefused` for one that is no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ItemRefused("the file name is no UTF-8: rename it (convmv does so for many)") from error
    return name
