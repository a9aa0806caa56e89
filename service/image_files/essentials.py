"""What the pixels of an image file need, apart from all that came with them."""

from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ImageDamaged


@dataclass(frozen=True)
class Essentials:
    """A file of the same pixels without its ancillary data: text, profiles, dates, previews, later frames.

    `size` is (width, height) as the header says, `orientation` the EXIF one (1 to 8). `complete()` raises
    `ImageDamaged` unless the compressed data cover the whole picture; where it does nothing, decoding tells:
    of `content`, or by giving the same picture for `twin`, which differs only in bytes that no pixel needs.
    A palette picture has `colours` in its palette; in a 16-bit grey one the value `clear` is transparent.
    `upper_bits`: of its 16-bit values the decoder gives the upper 8 bits.
    """

    size: tuple[int, int]
    content: bytes
    orientation: int
    complete: Callable[[], None] = lambda: None
    twin: bytes | None = None
    colours: int | None = None
    clear: int | None = None
    upper_bits: bool = False


def damaged(reason: object) -> ImageDamaged:
    """The problem to raise when pixels, or what they need, are missing or wrong."""
    return ImageDamaged(f"the image file is damaged or cut off ({reason}): send it again, whole")
