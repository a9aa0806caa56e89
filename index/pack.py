"""A gallery as it is searched, in one file beside the database, so that a start need not work it out again.

The database stays the truth: the file names the version that it was made of, and is of no use for another
history, model, label weight or program. One that is missing or damaged is as good as none.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.arrangement import Arrangement
from index.columns import Columns
from index.contents import Contents
from index.database import Version
from index.entries import Stored
from index.growth import State, View
from index.items import Texts
from index.labels import Labels
from index.segment import LiveSegment, Segment

MAGIC = b"retrievalguard pack 1\n"
COLUMNS = ("serials", "labels", "digests", "vectors")
CLUSTERS = ("starts", "centres", "radii", "groups")
# Bytes that are read and checked at a time.
CHUNK = 2**22
# Code of another version may blend, or arrange, in another way.
CODE = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


class Packed(NamedTuple):
    """What one version of a gallery holds, as `model` and `view` see it."""

    version: Version
    model: str
    view: View
    state: State
    left_out: dict[int, Stored]


def save(path: Path, packed: Packed) -> None:
    """Write `packed` to `path`: whole, or not at all. Raises `OSError`."""
    view, arrangement = packed.view, packed.state.arrangement
    arrays = dict(_arrays(packed))
    header = {
        "code": CODE,
        "version": [packed.version.number, packed.version.name.hex()],
        "seen": _seen(packed.model, view.dimension, view.label_weight),
        "labels": view.labels.names[:],
        "segments": [part.segment.number for part in arrangement.parts],
        "left_out": [
            [row, each.id, each.texts is not None, each.broken] for row, each in packed.left_out.items()
        ],
        "arrays": {name: [array.dtype.str, array.shape] for name, array in arrays.items()},
    }
    text = json.dumps(header).encode()
    draft = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(MAGIC + struct.pack(">Q", len(text)) + text + hashlib.sha256(text).digest())
            content = hashlib.sha256()
            for piece in _bytes(arrays):
                content.update(piece)
                file.write(piece)
            file.write(content.digest())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def load(path: Path, model: str, dimension: int, label_weight: float) -> Packed | None:
    """What was saved to `path`; None if that is not whole, or of something else."""
    try:
        with path.open("rb") as file:
            return _read(file, _seen(model, dimension, label_weight), model)
    except (OSError, struct.error):
        return None


def _seen(model: str, dimension: int, label_weight: float) -> list[str]:
    return [model, str(dimension), repr(label_weight)]


def _arrays(packed: Packed) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "contents", packed.state.contents.labels
    for part in (*packed.state.arrangement.parts, LiveSegment(packed.state.arrangement.open)):
        segment, columns = part.segment, part.segment.columns
        for name in COLUMNS:
            yield f"{segment.number} {name}", getattr(columns, name)
        for name in CLUSTERS:
            yield f"{segment.number} {name}", getattr(segment, name)
        if part.alive is not None:
            yield f"{segment.number} alive", part.alive


def _bytes(arrays: dict[str, NDArray[Any]]) -> Iterator[memoryview]:
    for array in arrays.values():
        if array.size:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _read(file: BinaryIO, seen: list[str], model: str) -> Packed | None:
    if file.read(len(MAGIC)) != MAGIC:
        return None
    (size,) = struct.unpack(">Q", file.read(8))
    text = file.read(min(size, os.fstat(file.fileno()).st_size))
    if file.read(32) != hashlib.sha256(text).digest():
        return None
    header = json.loads(text)
    if header["code"] != CODE or header["seen"] != seen:
        return None
    content = hashlib.sha256()
    arrays = {}
    for name, (kind, shape) in header["arrays"].items():
        arrays[name] = array = np.empty(shape, np.dtype(kind))
        view = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(view), CHUNK):
            some = view[start : start + CHUNK]
            if file.readinto(some) != len(some):  # type: ignore[attr-defined]
                return None
            content.update(some)
    if file.read(33) != content.digest():
        return None

    def columns(number: int) -> Columns:
        return Columns(*(arrays[f"{number} {name}"] for name in COLUMNS))

    parts = [
        LiveSegment(
            Segment(
                number,
                columns(number),
                *(arrays[f"{number} {name}"] for name in CLUSTERS),
            ),
            arrays.get(f"{number} alive"),
        )
        for number in header["segments"]
    ]
    contents = arrays["contents"]
    return Packed(
        Version(header["version"][0], bytes.fromhex(header["version"][1])),
        model,
        View(int(seen[1]), float(seen[2]), Labels(header["labels"])),
        State(
            Arrangement.of(parts, columns(0)),
            Contents.of(np.frombuffer(contents.tobytes(), np.uint8).reshape(len(contents), 32)),
        ),
        {
            row: Stored(row, id_, Texts(b"", b"", b"") if sound else None, None, broken)
            for row, id_, sound, broken in header["left_out"]
        },
    )
