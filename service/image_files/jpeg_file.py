"""JPEG: the segments that the pixels need, and whether the data of all blocks are there."""

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import NotAnImage
from service.image_files.essentials import Essentials, damaged
from service.image_files.orientation import orientation

SIGNATURE = b"\xff\xd8\xff"
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_END = bytes([0xFF, _EOI])
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLES = {0xC4, 0xDB, _DRI}
_ALONE = {0x01, *range(0xD0, 0xD8), _SOI}
# What ends the coded data of a scan: a marker, but no stuffed byte, restart or fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTARTS = [bytes([0xFF, marker]) for marker in range(0xD0, 0xD8)]
# Only whether they are there, and the colour transform, matter to the pixels.
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_ADOBE, _ADOBE_BYTES = b"Adobe", 12
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_MOST_SEGMENTS = 10_000
# A progressive file may ask for endless work; encoders make up to about 20 scans.
_MOST_SCANS = 100
# Pixels along a block, and coefficients in one.
_SIDE, _COEFFICIENTS = 8, 64
# In place of the end of the last scan: 64 bits of ones, which are no code in any table. A decoder that has
# all blocks never asks for them; to one that has not they are no end of the data: it waits for more, where
# at the mark of the end it would fill the rest with grey.
_NO_CODE = b"\xff\x00" * 8
# In a file of several scans a decoder waits for that mark before it begins. There, these bytes stand behind
# each scan in a twin of the file: to one that has all blocks they are nothing, to one that has not they are
# blocks, and the pictures differ.
_ANY_CODES = hashlib.shake_128(b"any codes").digest(512).replace(b"\xff", b"\x7f")


@dataclass(frozen=True)
class _Component:
    across: int
    down: int
    # The bit of each coefficient down to which it has been sent; -1: not at all.
    sent: list[int]


@dataclass(frozen=True)
class _Frame:
    kind: int
    width: int
    height: int
    components: dict[int, _Component]

    def mcus(self, scan: list[_Component]) -> int:
        """How many units a scan with these components has: what restarts are counted in."""
        widest = max(c.across for c in self.components.values())
        tallest = max(c.down for c in self.components.values())
        if len(scan) == 1:
            width = _rounded_up(self.width * scan[0].across, widest)
            height = _rounded_up(self.height * scan[0].down, tallest)
            return _rounded_up(width, _SIDE) * _rounded_up(height, _SIDE)
        return _rounded_up(self.width, _SIDE * widest) * _rounded_up(self.height, _SIDE * tallest)


def essentials(content: bytes) -> Essentials:
    """Of a file that begins with `SIGNATURE`; linear in its bytes.

    What the headers tell is checked here: every coefficient of every component is sent, to its last bit, in
    as many restart intervals as there must be. Decoding tells whether the scans are whole. The format has no
    checksums: damage that leaves the number of blocks as it was is not noticed.
    Raises `ImageDamaged`, and `NotAnImage` for kinds of JPEG in which missing data could not be noticed.
    """
    frame: _Frame | None = None
    exif = xmp = None
    jfif, adobe, interval, scans = False, b"", 0, 0
    parts: list[bytes | memoryview] = []
    twin: list[bytes | memoryview] = []
    view = memoryview(content)
    for marker, start, end in _segments(content):
        body = view[start + 4 : end]
        if marker == 0xE0:
            jfif |= len(body) >= 14 and bytes(body[:5]) == b"JFIF\0"
        elif marker == 0xE1 and bytes(body[: len(_EXIF)]) == _EXIF:
            exif = exif or bytes(body)
        elif marker == 0xE1 and bytes(body[: len(_XMP)]) == _XMP:
            xmp = xmp or bytes(body)
        elif marker == 0xEE and len(body) >= _ADOBE_BYTES and bytes(body[: len(_ADOBE)]) == _ADOBE:
            adobe = bytes(body[:_ADOBE_BYTES])
        elif marker in _TABLES:
            parts.append(view[start:end])
            twin.append(view[start:end])
            if marker == _DRI and len(body) >= 2:
                interval = int.from_bytes(body[:2], "big")
        elif marker in _FRAMES:
            if frame is not None:
                raise damaged("it has two headers")
            frame = _frame(marker, bytes(body))
            parts.append(view[start:end])
            twin.append(view[start:end])
        elif marker == _SOS:
            if frame is None:
                raise damaged("its pixel data come before its header")
            header_end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
            scans += 1
            if scans > _MOST_SCANS:
                raise damaged(f"it has more than {_MOST_SCANS} scans")
            _account(frame, bytes(view[start + 4 : header_end]), content[header_end:end], interval)
            parts.append(view[start:end])
            twin += [view[start:end], _ANY_CODES]
    if frame is None or scans == 0:
        raise damaged("it has no pixel data")
    if any(bit != 0 for component in frame.components.values() for bit in component.sent):
        raise damaged("a part of its pixel data is missing")
    head = b"\xff\xd8" + (_JFIF if jfif else b"")
    head += b"\xff\xee" + struct.pack(">H", 2 + len(adobe)) + adobe if adobe else b""
    several = scans > 1 or frame.kind == _PROGRESSIVE
    return Essentials(
        (frame.width, frame.height),
        b"".join([head, *parts, _END if several else _NO_CODE]),
        orientation(exif, xmp),
        twin=b"".join([head, *twin, _END]) if several else None,
    )


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each up to the end of the picture; a scan goes on to the next marker.

    Raises `ImageDamaged` when the file ends without the mark of the end.
    """
    position = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(content, position)
        if found is None:
            raise damaged("its end is missing")
        start, marker = found.start(), content[found.start() + 1]
        if marker == _EOI:
            return
        if marker in _ALONE:
            position = start + 2
            continue
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        if end < start + 4 or end > len(content):
            raise damaged("it ends inside a segment")
        if marker == _SOS:
            following = _MARKER.search(content, end)
            if following is None:
                raise damaged("its end is missing")
            end = following.start()
        yield marker, start, end
        position = end
    raise damaged(f"it has more than {_MOST_SEGMENTS} segments")


def _frame(marker: int, body: bytes) -> _Frame:
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        raise NotAnImage(
            "a JPEG with arithmetic or lossless coding is not read: save it as a common JPEG, or as a PNG"
        )
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise damaged("its header makes no sense")
    _, height, width, _ = struct.unpack_from(">BHHB", body)
    components = {}
    for position in range(6, len(body), 3):
        name, sampling = body[position], body[position + 1]
        across, down = sampling >> 4, sampling & 15
        if name in components or not 1 <= across <= 4 or not 1 <= down <= 4:
            raise damaged("its header makes no sense")
        components[name] = _Component(across, down, [-1] * _COEFFICIENTS)
    return _Frame(marker, width, height, components)


def _account(frame: _Frame, header: bytes, data: bytes, interval: int) -> None:
    """Mark what a scan sends, and count the restarts in its `data`. Raises `ImageDamaged`."""
    count = header[0] if header else 0
    if not count or len(header) != 4 + 2 * count:
        raise damaged("the header of a scan makes no sense")
    names = list(header[1 : 1 + 2 * count : 2])
    if len(set(names)) != count or not set(names) <= frame.components.keys():
        raise damaged("a scan is of components that the header does not name")
    scan = [frame.components[name] for name in names]
    progressive = frame.kind == _PROGRESSIVE
    first, last, before, after = header[-3], header[-2], header[-1] >> 4, header[-1] & 15
    if not progressive:
        first, last, before, after = 0, _COEFFICIENTS - 1, 0, 0
    if not first <= last < _COEFFICIENTS or (progressive and (first == 0) != (last == 0)):
        raise damaged("the header of a scan makes no sense")
    for component in scan:
        for coefficient in range(first, last + 1):
            expected = before if before else -1
            if component.sent[coefficient] != expected or (before and after != before - 1):
                raise damaged("its scans are not in order")
            component.sent[coefficient] = after
    restarts = sum(data.count(marker) for marker in _RESTARTS)
    if interval and restarts < _rounded_up(frame.mcus(scan), interval) - 1:
        raise damaged("a part of its pixel data is missing")


def _rounded_up(number: int, unit: int) -> int:
    """How many units hold `number`."""
    return -(-number // unit)
