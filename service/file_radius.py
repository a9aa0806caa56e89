"""From a radius about the model input to one about the file's pixels: docs/certificate.md, §11.

What becomes of a file's pixels p is clip(T p) but for what float32 rounds, T linear: turning, mixing colours
to grey, resizing. So a change of p shorter than (R - rounding)/||T|| is a change of the input shorter than R.
"""

import math
from dataclasses import dataclass
from typing import Literal

from certify import round_down
from service.resizing import LONGEST_SIDE, Axis, gains

Colour = Literal["grey", "16-bit grey", "RGB"]
# The parts of red, green and blue in grey, of `WHOLE`: those of Pillow, which rounds the sum to 8 bits.
LUMA, WHOLE = (19595, 38470, 7471), 65536
# Float32 rounds a value on its way five times at most, each by 2^-24 of the largest that it may have.
ROUNDING = 6 * 2.0**-24
# Of an 8-bit value. Steps are told to so many digits.
LEVELS, STEP_DIGITS = 255, 3
# For what float64 rounds here.
_DOWN = 1 - 1e-9


@dataclass(frozen=True)
class FilePixels:
    """What the pixels of a decoded file are, and how they became the model input.

    form          PNG, JPEG or WEBP: in the first the pixels are written as they are
    colour        what a pixel has: one grey value, of up to 8 or of 16 bits, or RGB
    over_black    whether transparency was laid over black before
    upper_bits    whether of 16-bit values the upper 8 bits were read
    across, down  what became of rows and columns, after the picture was turned upright
    """

    form: str
    colour: Colour
    over_black: bool
    upper_bits: bool
    across: Axis
    down: Axis

    @property
    def unit(self) -> str:
        """In what a radius about them is measured."""
        told = f"l2 over [0,1] values of the {self.across.before}x{self.down.before} {self.colour} pixels"
        told += " of the PNG file" if self.form == "PNG" else f" that the {self.form} file is decoded to"
        if self.upper_bits:
            told += ", the upper 8 bits of each value"
        return told + (", laid over black" if self.over_black else "")


@dataclass(frozen=True)
class FileClaim:
    """A change of the file's pixels below any of these sizes changes the input by less than the radius.

    radius  of l2 length, as `FilePixels.unit` says
    steps   of values of the file; None if these are not what the unit is about
    """

    radius: float
    steps: "FileSteps | None"


@dataclass(frozen=True)
class FileSteps:
    """So many 8-bit steps in each value of one pixel, and so many in every value."""

    one_pixel: float
    all_pixels: float


def file_claim(radius: float, pixels: FilePixels, shape: tuple[int, int, int]) -> FileClaim | str:
    """What a `radius` (l2) about the input of `shape` (C, H, W) says of the file; or why it says nothing."""
    across, down = gains(pixels.across), gains(pixels.down)
    if across is None or down is None:
        if max(pixels.across.before, pixels.down.before) > LONGEST_SIDE:
            return f"a side of the picture has more than {LONGEST_SIDE} pixels: scale it down"
        return "this version of Pillow resizes in a way that is not known here: install another"
    channels, height, width = shape
    even = across.even * down.even
    rounded = 2 * ROUNDING * even * math.sqrt(channels * height * width)
    left = (radius - rounded) * _DOWN
    if radius > 0 and not left > 0:
        return "the radius is smaller than what decoding may round"
    if pixels.colour != "RGB":
        mixing = math.sqrt(channels)
    else:
        mixing = math.hypot(*LUMA) / WHOLE if channels == 1 else 1.0
    every = math.sqrt(channels)  # a value of the input is a mean of those of a pixel

    def steps(change: float) -> float:
        return round_down(min(LEVELS * left / change, LEVELS), STEP_DIGITS)

    # Alpha and colour multiply, and one step of 16-bit values may be one of their upper 8 bits.
    told = not (pixels.over_black or pixels.upper_bits)
    return FileClaim(
        round_down(left / (mixing * across.l2 * down.l2)),
        FileSteps(
            one_pixel=steps(every * across.single * down.single),
            all_pixels=steps(every * math.sqrt(height * width) * even),
        )
        if told
        else None,
    )
