"""How a picture is to be turned, from its EXIF or XMP; whatever cannot be read there turns nothing."""

import re
import struct

from PIL.Image import Image, Transpose

UPRIGHT = 1
# What to do with a picture of each EXIF orientation.
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_EXIF_NAME = b"Exif\0\0"
_TAG = 0x0112
_ENTRY_BYTES = 12
# The EXIF types in which an orientation is written: BYTE, SHORT, LONG.
_TYPES = {1: "B", 3: "H", 4: "I"}
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """The EXIF orientation, 1 to 8: of `exif` if it names one, else of `xmp`, else 1."""
    found = _from_exif(exif or b"")
    if found is None and xmp is not None:
        match = _IN_XMP.search(xmp)
        found = match and int(match[1])
    return found if found in _TURNS else UPRIGHT


def upright(image: Image, orientation: int) -> Image:
    """The `image` as it is to be seen."""
    return image if orientation == UPRIGHT else image.transpose(_TURNS[orientation])


def _from_exif(exif: bytes) -> int | None:
    """The value of the orientation tag of a TIFF directory; None if there is none that can be read."""
    while exif.startswith(_EXIF_NAME):
        exif = exif[len(_EXIF_NAME) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for position in range(start + 2, start + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, position)
            if tag == _TAG and count == 1 and kind in _TYPES:
                return int(struct.unpack_from(order + _TYPES[kind], exif, position + 8)[0])
    except struct.error:  # the directory leaves the block
        return None
    return None
