"""From an uploaded file, or numbers, to the model input. Bounded before anything is decoded."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.errors import ImageBlank, ImageTooLarge, ImageTooSmall, NotAnImage, PixelsInvalid
from service.image_files import jpeg_file, png_file, webp_file
from service.image_files.essentials import Essentials, damaged
from service.image_files.orientation import upright

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
    """

    tensor: NDArray[np.float32]
    size: tuple[int, int]
    colourful: bool


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
    Either is a linear map in float32, and what it leaves outside of [0, 1] is cut off. Raises the image
    problems of `service.errors`, each with what to do.
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
    planes, colourful = _planes(image, channels, essentials)
    planes = [_fitted(plane, (width, height), preprocessing) for plane in planes]
    pixels = np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]) / np.float32(255)
    return Picture(pixels.clip(0, 1), image.size, colourful)


def _fitted(plane: Image.Image, size: tuple[int, int], preprocessing: "Preprocessing | None") -> Image.Image:
    """The plane as large as the input, `size` (width, height)."""
    if preprocessing is None:
        return plane if plane.size == size else plane.resize(size, Image.Resampling.BILINEAR)
    if preprocessing.size is not None:
        rows, columns = preprocessing.size
    else:
        edge, least = preprocessing.shortest_edge or 0, min(plane.size)
        columns, rows = (edge * side // least for side in plane.size)
    if plane.size == size == (columns, rows):
        return plane
    # What would be cut off of the whole is not made: a long picture would become a huge one. The pixels that
    # lie around the box are read all the same where the filter reaches them.
    left, top = (columns - size[0]) // 2, (rows - size[1]) // 2
    across, down = plane.width / columns, plane.height / rows
    box = (left * across, top * down, (left + size[0]) * across, (top + size[1]) * down)
    return plane.resize(size, _INTERPOLATIONS[preprocessing.interpolation], box=box)


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


def _planes(image: Image.Image, channels: int, essentials: Essentials) -> tuple[list[Image.Image], bool]:
    """One float image in the scale of 0 to 255 for each channel, and whether the picture has colours."""
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float32)
        if essentials.clear is not None:
            values = np.where(values == essentials.clear, np.float32(0), values)
        grey = Image.fromarray(values * np.float32(255 / 65535))
        return [grey] * channels, False
    if image.has_transparency_data:
        image = _over_black(image.convert("RGBA"))
    colourful = image.mode not in ("1", "L", "LA") and _colourful(image)
    bands = image.convert("L" if channels == 1 else "RGB").split()
    return [band.convert("F") for band in bands], colourful


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


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of 8-bit pixels (C, H, W), C being 1 or 3."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
