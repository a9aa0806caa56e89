"""WebP: the chunks that the pixels need. Its decoder notices by itself when data are missing."""

import struct

from service.errors import ImageAnimated
from service.image_files.essentials import Essentials, damaged
from service.image_files.orientation import orientation

_ALPHA, _ANIMATION = 0x10, 0x02
_PICTURES = (b"VP8 ", b"VP8L")
_MOST_CHUNKS = 10_000


def is_webp(content: bytes) -> bool:
    """Whether the bytes begin as a WebP file does."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def essentials(content: bytes) -> Essentials:
    """Of a file that `is_webp`; linear in its bytes. Raises `ImageDamaged` and `ImageAnimated`."""
    chunks = _chunks(content)
    of_kind: dict[bytes, bytes] = {}
    for kind, body in chunks:
        of_kind.setdefault(kind, body)
    frames = sum(kind == b"ANMF" for kind, _ in chunks)
    if frames > 1:
        raise ImageAnimated("the image has several frames: send the one that is the query")
    first = chunks[0][0] if chunks else b""
    if first in _PICTURES:
        kept = [chunks[0]]
        size = _size(*chunks[0])
    elif first == b"VP8X" and len(chunks[0][1]) >= 10:
        header = chunks[0][1]
        size = int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:10], "little") + 1
        flags = header[0] & (_ALPHA | (_ANIMATION if frames else 0))
        wanted = (b"ANIM", b"ANMF") if frames else (b"ALPH", *_PICTURES)
        kept = [(b"VP8X", bytes([flags, 0, 0, 0]) + header[4:10])]
        kept += [(kind, of_kind[kind]) for kind in wanted if kind in of_kind]
        if not frames and not any(kind in _PICTURES for kind, _ in kept):
            raise damaged("it has no pixel data")
    else:
        raise damaged("it does not begin with its header")
    body = b"".join(
        struct.pack("<4sI", kind, len(part)) + part + b"\0" * (len(part) % 2) for kind, part in kept
    )
    return Essentials(
        size,
        struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body,
        orientation(of_kind.get(b"EXIF"), of_kind.get(b"XMP ")),
    )


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each chunk; a file that ends before its own length says is damaged."""
    if len(content) < 12:
        raise damaged("it ends inside its header")
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise damaged("it is shorter than it says")
    chunks, position = [], 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", content, position)
        if position + 8 + length > end:
            raise damaged("it ends inside a chunk")
        chunks.append((kind, content[position + 8 : position + 8 + length]))
        if len(chunks) > _MOST_CHUNKS:
            raise damaged(f"it has more than {_MOST_CHUNKS} chunks")
        position += 8 + length + length % 2
    return chunks


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    """(width, height) of a picture without a header of its own."""
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    raise damaged("its header makes no sense")
