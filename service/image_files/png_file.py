"""PNG: the chunks that the pixels need, and whether all rows are there."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.errors import ImageAnimated, NotAnImage
from service.image_files.essentials import Essentials, damaged
from service.image_files.orientation import orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
# Bits in a sample that each colour type may have, and samples in a pixel.
_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
# The first column and row of each pass of an interlaced picture, and the steps between them.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_LARGEST_SIDE = 2**31 - 1
# Bytes that are inflated at a time, and that are given to inflate.
_STEP, _BLOCK = 2**20, 2**16
# More chunks than any encoder makes of an image that a query may be.
_MOST_CHUNKS = 100_000
# The longest text in which an orientation is looked for.
_TEXT_BYTES = 2**20
_EXIF_TEXT, _XMP_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    body: memoryview
    sound: bool  # its checksum is that of its bytes


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of the whole picture before compression: rows, each behind its filter."""
        bits = self.depth * _SAMPLES[self.colour]
        total = 0
        for left, top, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + -(-width * bits // 8))
        return total


def essentials(content: bytes) -> Essentials:
    """Of a file that begins with `SIGNATURE`. Linear in its bytes, nothing is inflated but short texts.

    Only chunks that the pixels need may be wrong: IHDR, PLTE of a palette picture, tRNS, IDAT, IEND.
    Raises `ImageDamaged`, `ImageAnimated`, and `NotAnImage` for what is not of the standard.
    """
    chunks = list(_chunks(content))
    header = _header(chunks[0])
    found: dict[bytes, _Chunk] = {}
    data: list[memoryview] = []
    for chunk in chunks[1:]:
        if chunk.kind == b"IDAT":
            data.append(_checked(chunk).body)
        elif chunk.kind in (b"PLTE", b"tRNS"):
            if data or chunk.kind in found:
                raise damaged(f"its {chunk.kind.decode()} chunk is not where it belongs")
            found[chunk.kind] = chunk
        elif chunk.kind == b"acTL":
            found.setdefault(chunk.kind, chunk)
        elif chunk.kind == b"IEND":
            _checked(chunk)
        elif chunk.kind == b"IHDR":
            raise damaged("it has two headers")
        elif not chunk.kind[0] & 0x20:
            raise NotAnImage(
                "the PNG needs a chunk that is not of the standard: convert the file with an image editor"
            )
    if not data:
        raise damaged("it has no pixel data")
    _refuse_frames(found.get(b"acTL"), chunks)
    palette = _palette(found.get(b"PLTE")) if header.colour == PALETTE else b""
    colours = len(palette) // 3 if header.colour == PALETTE else None
    transparency = _transparency(header, colours, found.get(b"tRNS"))
    deep = header.colour == GREY and header.depth == 16 and transparency is not None
    kept: list[tuple[bytes, bytes | memoryview]] = [(b"IHDR", chunks[0].body)]
    if palette:
        kept.append((b"PLTE", palette))
    if transparency is not None and not deep:
        kept.append((b"tRNS", transparency))
    kept += [(b"IDAT", body) for body in data]
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind, body in [*kept, (b"IEND", b"")]:
        parts += [struct.pack(">I4s", len(body), kind), body, _checksum(kind, body)]
    return Essentials(
        (header.width, header.height),
        b"".join(parts),
        orientation(*_exif_and_xmp(chunks)),
        complete=partial(_complete, data, header.row_bytes),
        colours=colours,
        clear=int.from_bytes(transparency, "big") if deep and transparency else None,
        upper_bits=header.depth == 16 and header.colour != GREY,
    )


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Up to IEND; a chunk that the end of the file cuts off is damage, whatever it holds."""
    view, position = memoryview(content), len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(content):
            raise damaged("it ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            raise damaged("it ends inside a chunk")
        body = view[position + 8 : end]
        yield _Chunk(kind, body, _checksum(kind, body) == view[end : end + 4])
        if kind == b"IEND":
            return
        position = end + 4
    raise damaged(f"it has more than {_MOST_CHUNKS} chunks")


def _checksum(kind: bytes, body: bytes | memoryview) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _checked(chunk: _Chunk) -> _Chunk:
    if not chunk.sound:
        raise damaged(f"the checksum of its {chunk.kind.decode()} chunk is wrong")
    return chunk


def _header(chunk: _Chunk) -> _Header:
    if chunk.kind != b"IHDR" or len(chunk.body) != 13:
        raise damaged("it does not begin with its header")
    width, height, depth, colour, packing, filtering, interlacing = struct.unpack(
        ">IIBBBBB", _checked(chunk).body
    )
    known = depth in _DEPTHS.get(colour, ()) and (packing, filtering) == (0, 0) and interlacing in (0, 1)
    if not known or not 0 < width <= _LARGEST_SIDE or not 0 < height <= _LARGEST_SIDE:
        raise damaged("its header makes no sense")
    return _Header(width, height, depth, colour, interlacing == 1)


def _palette(chunk: _Chunk | None) -> bytes:
    if chunk is None:
        raise damaged("its palette is missing")
    palette = bytes(_checked(chunk).body)
    if not palette or len(palette) % 3 or len(palette) > 3 * 256:
        raise damaged("its palette is no list of colours")
    return palette


def _transparency(header: _Header, colours: int | None, chunk: _Chunk | None) -> bytes | None:
    """The body of tRNS as Pillow reads it: a grey value in the scale of the decoded picture."""
    if chunk is None or header.colour in (GREY_ALPHA, RGBA):  # the alpha channel says it all
        return None
    body = bytes(_checked(chunk).body)
    if colours is not None:
        return body[:colours]
    if len(body) != 2 * _SAMPLES[header.colour]:
        raise damaged("its transparent colour is no colour")
    if header.colour == RGB:
        if header.depth == 16:
            raise NotAnImage(
                "a PNG of 16-bit colours with one of them transparent is not read: save it with 8-bit"
                " colours or an alpha channel"
            )
        return bytes(byte & mask for byte, mask in zip(body, b"\x00\xff" * 3, strict=True))
    largest = 2**header.depth - 1
    value = struct.unpack(">H", body)[0] & largest
    scale = 255 // largest if header.depth < 8 else 1
    return struct.pack(">H", value * scale)


def _refuse_frames(animation: _Chunk | None, chunks: Sequence[_Chunk]) -> None:
    """An animation of one frame that is the picture itself is a picture."""
    if animation is None or not animation.sound or len(animation.body) != 8:
        return
    frames = struct.unpack(">II", animation.body)[0]
    if frames > 1 or any(chunk.kind == b"fdAT" for chunk in chunks):
        raise ImageAnimated("the image has several frames: send the one that is the query")


def _complete(data: Sequence[memoryview], expected: int) -> None:
    """Inflate all rows once, a step at a time, and count them."""
    inflate = zlib.decompressobj()
    missing = expected
    try:
        for part in data:
            for start in range(0, len(part), _BLOCK):
                block: bytes | memoryview = part[start : start + _BLOCK]
                while block and missing > 0 and not inflate.eof:
                    missing -= len(inflate.decompress(block, _STEP))
                    block = inflate.unconsumed_tail
        while missing > 0 and not inflate.eof:
            held_back = inflate.decompress(b"", _STEP)
            if not held_back:
                break
            missing -= len(held_back)
    except zlib.error as error:
        raise damaged("its pixel data cannot be unpacked") from error
    if missing > 0:
        raise damaged("rows of pixels are missing")


def _exif_and_xmp(chunks: Sequence[_Chunk]) -> tuple[bytes | None, bytes | None]:
    """Where an orientation may stand; the first of each kind, as far as it can be read."""
    exif = next((bytes(c.body) for c in chunks if c.kind == b"eXIf" and c.sound), None)
    texts: dict[bytes, bytes | None] = {}
    for chunk in chunks:
        if chunk.kind in (b"tEXt", b"zTXt", b"iTXt") and chunk.sound:
            keyword = bytes(chunk.body[:80]).split(b"\0")[0]
            if keyword in (_EXIF_TEXT, _XMP_TEXT) and keyword not in texts:
                texts[keyword] = _text(chunk.kind, bytes(chunk.body[len(keyword) + 1 :]))
    if exif is None and texts.get(_EXIF_TEXT) is not None:
        lines = (texts[_EXIF_TEXT] or b"").split(b"\n")[3:]
        try:
            exif = bytes.fromhex(b"".join(lines).decode("ascii"))
        except ValueError:
            exif = None
    return exif, texts.get(_XMP_TEXT)


def _text(kind: bytes, rest: bytes) -> bytes | None:
    """What follows the keyword of a text chunk, unpacked; None if that is too long or cannot be read."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    if not packed:
        return rest
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(rest, _TEXT_BYTES)
    except zlib.error:
        return None
    return text if inflate.eof else None
