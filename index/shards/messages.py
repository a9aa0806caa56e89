"""What a shard is asked, and what it answers: numpy arrays and bytes, whatever carries them.

A request has a number that is never used again, and an answer names the digest of the request that it
answers: an answer that comes twice, or late, is not taken for another one.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.columns import Singles
from index.segment import LiveSegment, Segment

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """A segment by the `mark` of what is in it, and the bits of who is there; None for all."""

    mark: bytes
    alive: bytes | None = None

    @classmethod
    def of(cls, mark: bytes, part: LiveSegment) -> "Part":
        """The part as one version of the gallery sees it."""
        return cls(mark, None if part.alive is None else np.packbits(part.alive).tobytes())

    @property
    def digest(self) -> bytes:
        """sha256 of what is in the segment, and of who is there: a leaf of the digest of a version."""
        return hashlib.sha256(b"part 1\0" + self.mark + (self.alive or b"")).digest()

    def there(self, size: int) -> NDArray[np.bool_] | None:
        """Which of `size` items are there; None for all. Raises `ValueError` if there are others."""
        if self.alive is None:
            return None
        if len(self.alive) != (size + 7) // 8:
            raise ValueError("a part of another size")
        return np.unpackbits(np.frombuffer(self.alive, np.uint8), count=size).astype(np.bool_)


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """What all requests have: a number of their own."""

    number: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    @property
    def digest(self) -> bytes:
        """sha256 of the request."""
        content = hashlib.sha256(type(self).__name__.encode())
        for each in fields(self):
            for piece in _pieces(getattr(self, each.name)):
                content.update(len(piece).to_bytes(8, "big") + piece)
        return content.digest()


@dataclass(frozen=True, eq=False)
class Search(Request):
    """The `count` items of `parts` nearest to each of `points` (n, d) float32, as `flat.search` finds them.

    Answer: the `Hits`, whose parts are numbered as here, and the digests (P, 32) of the parts.
    """

    parts: tuple[Part, ...]
    points: Singles
    count: int


@dataclass(frozen=True, eq=False)
class Fetch(Request):
    """Vectors: of each segment, by its mark, those at places (k,). Answer: the vectors (k, d) of each."""

    marks: tuple[bytes, ...]
    places: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False)
class Multiply(Request):
    """Products of `point` (d,) with runs of vectors (mark, first, last). Answer: (last - first,) of each."""

    runs: tuple[tuple[bytes, int, int], ...]
    point: Singles


@dataclass(frozen=True, eq=False)
class Hold(Request):
    """A segment that `owner` needs from now on: its layout's digest, and its vectors. Answer: nothing."""

    owner: str
    layout: bytes
    vectors: Singles


@dataclass(frozen=True, eq=False)
class Keep(Request):
    """All that `owner` needs, by marks: the rest may go. Answer: which of them (k,) are held."""

    owner: str
    marks: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """The `arrays` that answer the request of digest `of`; `seal` is the digest of all of it."""

    of: bytes
    arrays: tuple[Array, ...]
    seal: bytes

    @classmethod
    def to(cls, request: Request, *arrays: Array) -> "Answer":
        """The answer to `request`."""
        return cls(request.digest, arrays, _seal(request.digest, arrays))

    @property
    def sound(self) -> bool:
        """Whether it is what was answered."""
        return self.seal == _seal(self.of, self.arrays)


class Lacking(Exception):
    """A shard does not hold a segment: it was started anew, or has not been given it yet."""


# One copy of a shard, however it is reached: it answers a request within so many seconds, or raises whatever
# it likes; `Lacking` if it has not got what it is asked about.
Copy = Callable[[Request, float], Answer]


def mark_of(layout: bytes, vectors: Singles) -> bytes:
    """sha256 of what is in a segment: its items and their clusters (`Segment.layout`), and its vectors."""
    content = hashlib.sha256(b"segment elsewhere 1\0" + layout + repr(vectors.shape).encode())
    content.update(np.ascontiguousarray(vectors, "<f4").data)
    return content.digest()


def mark(segment: Segment) -> bytes:
    """The mark of `segment`."""
    return mark_of(segment.layout, segment.columns.vectors)


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, tuple):
        yield str(len(value)).encode()
        for one in value:
            yield from _pieces(one)
    elif isinstance(value, Part):
        yield from (value.mark, repr(value.alive is None).encode(), value.alive or b"")
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    else:
        yield value if isinstance(value, bytes) else repr(value).encode()


def _seal(of: bytes, arrays: tuple[Array, ...]) -> bytes:
    content = hashlib.sha256(b"answer 1\0" + of)
    for piece in _pieces(arrays):
        content.update(len(piece).to_bytes(8, "big") + piece)
    return content.digest()
