"""From an uploaded file, or numbers, to the model input. Bounded before anything is decoded."""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.errors import ImageBlank, ImageTooLarge, ImageTooSmall, NotAnImage, PixelsInvalid
from service.file_radius import LUMA, WHOLE, Colour, FilePixels
from service.image_files import jpeg_file, png_file, webp_file
from service.image_files.essentials import Essentials, damaged
from service.image_files.orientation import upright
from service.resizing import Axis

if TYPE_CHECKING:  # it loads torch, and an image can be read without
    from models import Preprocessing

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_READERS = {
    "PNG": png_file.essentials,
    "JPEG": jpeg_file.essentials,
    "WEBP": webp_file.essentials,
}
# Asked directly: `Image.open` warns of large pictures, by a limit that the whole process shares.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
# What Pillow's decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
# A picture is in colour when in 1 % of it two channels are further apart than this many of 255 levels: a scan
# of grey paper is not. It is looked at from afar, at most so many pixels a side.
_COLOURFUL_SHARE, _COLOURFUL_LEVELS, _AFAR = 0.01, 32, 256


@dataclass(frozen=True)
class Picture:
    """A decoded image file: the model input `tensor` (C, H, W) float32 in [0, 1], and what it was before.

    `size` is (width, height) as it is seen; `colourful` whether it has colours that a grey model cannot see.
    `pixels`: what those of the file were, and how they became the input.
    """

    tensor: NDArray[np.float32]
    size: tuple[int, int]
    colourful: bool
    pixels: FilePixels


# By the names that a manifest gives them.
_INTERPOLATIONS = {one.name.lower(): one for one in Image.Resampling}


def decode_image(
    content: bytes,
    shape: tuple[int, int, int],
    *,
    max_pixels: int,
    min_side: int,
    preprocessing: "Preprocessing | None" = None,
) -> NDArray[np.float32]:
    """The `tensor` of `read_image`."""
    return read_image(
        content, shape, max_pixels=max_pixels, min_side=min_side, preprocessing=preprocessing
    ).tensor


def read_image(
    content: bytes,
    shape: tuple[int, int, int],
    *,
    max_pixels: int,
    min_side: int,
    preprocessing: "Preprocessing | None" = None,
) -> Picture:
    """The model input (C, H, W) float32 in [0, 1] of a PNG, JPEG or WebP file.

    Only what the pixels need is read, and all of it must be there: text, profiles and dates are not looked
    at. Orientation is applied as far as it can be read, transparency is laid over black, colours become what
    the model takes (1 channel: luma; 3: RGB), 16-bit greys keep their precision. An image of another size
    becomes H x W as `preprocessing` says; without, it is stretched by antialiased bilinear interpolation.
    All that is done to decoded pixels, once transparency is gone, is a linear map in float32
    (docs/certificate.md, §11); what it leaves outside of [0, 1] is cut off. Raises the image problems
    of `service.errors`, each with what to do.
    """
    channels, height, width = shape
    form = _form(content)
    essentials = _READERS[form](content)
    _check_size(essentials.size, max_pixels, min_side)
    essentials.complete()
    image = _loaded(form, essentials.content, essentials.size)
    if essentials.twin is not None:
        twin = _loaded(form, essentials.twin, essentials.size)
        if not np.array_equal(np.asarray(image), np.asarray(twin)):
            raise damaged("a part of its pixel data is missing")
    if essentials.colours is not None and np.asarray(image).max() >= essentials.colours:
        raise damaged("it uses colours that its palette does not have")
    image = upright(image, essentials.orientation)
    across, down = _axes(image.size, (width, height), preprocessing)
    over_black = image.has_transparency_data or essentials.clear is not None
    colour, planes, colourful = _planes(image, channels, essentials)
    if not (across.unchanged and down.unchanged):
        box = (across.start, down.start, across.end, down.end)
        planes = [plane.resize((width, height), across.filter, box=box) for plane in planes]
    tensor = np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]) / np.float32(255)
    pixels = FilePixels(form, colour, over_black, essentials.upper_bits, across, down)
    return Picture(tensor.clip(0, 1), image.size, colourful, pixels)


def _axes(
    given: tuple[int, int], size: tuple[int, int], preprocessing: "Preprocessing | None"
) -> tuple[Axis, Axis]:
    """What becomes of the rows and columns of a picture of `given` (width, height), to be of `size`."""
    bilinear = Image.Resampling.BILINEAR
    if preprocessing is None:
        across, down = (Axis(*sides, 0, sides[0], bilinear) for sides in zip(given, size, strict=True))
        return across, down
    least = min(given)
    if preprocessing.size is not None:
        rows, columns = preprocessing.size
    else:
        edge = preprocessing.shortest_edge or 0
        columns, rows = (edge * side // least for side in given)
    # What would be cut off of the whole is not made: a long picture would become a huge one. The pixels that
    # lie around the box are read all the same where the filter reaches them.
    found = []
    for before, after, whole in zip(given, size, (columns, rows), strict=True):
        first, scale = (whole - after) // 2, before / whole
        found.append(
            Axis(
                before, after, first * scale, (first + after) * scale,
                _INTERPOLATIONS[preprocessing.interpolation],
            )
        )  # fmt: skip
    return found[0], found[1]


def _loaded(form: str, content: bytes, size: tuple[int, int]) -> Image.Image:
    try:
        image = _OPENERS[form](io.BytesIO(content))
        image.load()
    except Image.DecompressionBombError as error:  # Pillow's own limit, in a program that keeps it
        raise _too_large(size, 2 * (Image.MAX_IMAGE_PIXELS or 0)) from error
    except _DECODER_ERRORS as error:
        raise damaged(error) from error
    return image


def looks_like_an_image(content: bytes) -> bool:
    """Whether the first bytes are those of a PNG, JPEG or WebP file, whole or not."""
    return content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    )


def media_type(content: bytes) -> str:
    """The media type of an image file, from its bytes; `NotAnImage` for anything else."""
    return MEDIA_TYPES[_form(content)]


def _form(content: bytes) -> str:
    if content.startswith(png_file.SIGNATURE):
        return "PNG"
    if content.startswith(jpeg_file.SIGNATURE):
        return "JPEG"
    if webp_file.is_webp(content):
        return "WEBP"
    raise NotAnImage("the bytes are no PNG, JPEG or WebP image: convert the file to one of these")


def _check_size(size: tuple[int, int], max_pixels: int, min_side: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_large(size, max_pixels)
    if min(width, height) < min_side:
        raise ImageTooSmall(f"{width} x {height} pixels: send an image of at least {min_side} on each side")


def _too_large(size: tuple[int, int], limit: int) -> ImageTooLarge:
    return ImageTooLarge(f"{size[0]} x {size[1]} pixels are over the limit of {limit}: scale the image down")


def _planes(
    image: Image.Image, channels: int, essentials: Essentials
) -> tuple[Colour, list[Image.Image], bool]:
    """What a pixel has; a float image from 0 to 255 for each channel; whether the picture has colours."""
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float32)
        if essentials.clear is not None:
            values = np.where(values == essentials.clear, np.float32(0), values)
        grey = Image.fromarray(values * np.float32(255 / 65535))
        return "16-bit grey", [grey] * channels, False
    if image.has_transparency_data:
        grey_too = image.mode in ("1", "L", "LA")
        image = _over_black(image.convert("RGBA"))
        if grey_too:  # each band is the picture: the file has one value a pixel, not three
            image = image.getchannel(0)
    if image.mode in ("1", "L"):
        return "grey", [image.convert("L").convert("F")] * channels, False
    colourful, image = _colourful(image), image.convert("RGB")
    bands = [band.convert("F") for band in image.split()]
    return "RGB", [_grey(bands)] if channels == 1 else bands, colourful


def _grey(bands: Sequence[Image.Image]) -> Image.Image:
    """The luma of float bands of whole numbers up to 255. Exact: sums stay below 2^24."""
    luma = np.zeros((bands[0].height, bands[0].width), np.float32)
    for band, part in zip(bands, LUMA, strict=True):
        luma += np.asarray(band) * np.float32(part)
    return Image.fromarray(luma / np.float32(WHOLE))


def _over_black(image: Image.Image) -> Image.Image:
    """Raises `ImageBlank` when nothing is left of a picture that alpha alone tells from its background."""
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    alpha = np.asarray(image.getchannel("A"))
    told_by_alpha = alpha.min() != alpha.max() or alpha.max() == 0
    if told_by_alpha and flat.getcolors(1) is not None:  # one colour
        raise ImageBlank(
            "transparency is laid over black here, and nothing is left of this image: lay it over a"
            " background on which it can be seen, and send that"
        )
    return flat


def _colourful(image: Image.Image) -> bool:
    factor = -(-max(image.size) // _AFAR)
    seen = np.asarray(image.convert("RGB").reduce(factor), dtype=np.int16)
    apart = seen.max(axis=2) - seen.min(axis=2)
    return float(np.mean(apart > _COLOURFUL_LEVELS)) >= _COLOURFUL_SHARE


def pixels_tensor(pixels: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The model input given as nested lists of numbers: exactly C x H x W of them, finite, in [0, 1].

    Nothing is rounded: which point of the noise's grid is nearest is decided on the numbers as they came.
    """
    malformed = f"pixels must be nested lists of {_written(shape)} numbers, all rows of one length"
    try:
        given = np.array(pixels, dtype=object)
        if not all(type(value) in (int, float, list) for value in given.reshape(-1)):
            raise PixelsInvalid(malformed)  # numpy would read text and booleans as numbers
        tensor = given.astype(np.float64)
    except OverflowError as error:
        raise PixelsInvalid(_NOT_FINITE) from error
    except (ValueError, TypeError) as error:
        raise PixelsInvalid(malformed) from error
    return input_tensor(tensor, shape)


_NOT_FINITE = "pixels must be finite numbers, got NaN, infinity, or one beyond all floats"


def input_tensor(pixels: object, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """A copy of the model input that a caller brings: a numpy array (C, H, W) of floats in [0, 1].

    Raises `PixelsInvalid`, which says what to do, for anything else.
    """
    if not isinstance(pixels, np.ndarray) or isinstance(pixels, np.ma.MaskedArray):
        raise PixelsInvalid(
            f"an image is the bytes of a file or a numpy array, got {type(pixels).__name__}: read the file,"
            " Path(...).read_bytes(), or convert with numpy.asarray"
        )
    if pixels.dtype.kind != "f" or pixels.itemsize not in (4, 8):
        raise PixelsInvalid(
            f"pixels must be float32 or float64 in [0, 1], got {pixels.dtype}: divide 8-bit values by 255"
        )
    if pixels.shape != shape:
        found = _written(pixels.shape) or "a single number"
        raise PixelsInvalid(f"pixels must have shape {_written(shape)} (see GET /model), got {found}")
    tensor = pixels.astype(np.float64)  # a copy: what is checked is what is certified
    if not np.isfinite(tensor).all():
        raise PixelsInvalid(_NOT_FINITE)
    if tensor.min() < 0 or tensor.max() > 1:
        low, high = tensor.min(), tensor.max()
        raise PixelsInvalid(f"pixels must lie in [0, 1], got {low:g} to {high:g}: divide 8-bit values by 255")
    return tensor


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def packed(tensor: NDArray[np.float32]) -> str:
    """The numbers of a tensor as text: row by row, little-endian float32 in base64."""
    return base64.b64encode(tensor.astype("<f4").tobytes()).decode()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of 8-bit pixels (C, H, W), C being 1 or 3."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
