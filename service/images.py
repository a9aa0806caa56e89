"""From an uploaded file, or numbers, to the model input. Bounded before anything is decoded."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import (
    ImageAnimated,
    ImageDamaged,
    ImageTooLarge,
    ImageTooSmall,
    NotAnImage,
    PixelsInvalid,
)

FORMATS = ("PNG", "JPEG", "WEBP")
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# Phones append a depth map or a preview to a JPEG; its first frame is the photo.
PHONE_JPEG = "MPO"
# What Pillow's decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def decode_image(
    content: bytes, shape: tuple[int, int, int], *, max_pixels: int, min_side: int
) -> NDArray[np.float32]:
    """The model input (C, H, W) float32 in [0, 1] of a PNG, JPEG or WebP file.

    Orientation from EXIF is applied, transparency is laid over black, colours become what the model takes
    (1 channel: luma; 3: RGB), 16-bit greys keep their precision. An image of another size is stretched to
    H x W by antialiased bilinear interpolation in float32: a linear map. Raises the image problems of
    `service.errors`, each with what to do.
    """
    channels, height, width = shape
    image = _open(content, max_pixels, min_side)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        planes = _planes(image, channels)
    except _DECODER_ERRORS as error:
        raise ImageDamaged(f"the image file is damaged or cut off ({error}): send it again, whole") from error
    if image.size != (width, height):
        planes = [plane.resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    pixels = np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]) / np.float32(255)
    clipped: NDArray[np.float32] = pixels.clip(0, 1)
    return clipped


def looks_like_an_image(content: bytes) -> bool:
    """Whether the first bytes are those of a PNG, JPEG or WebP file, whole or not."""
    return content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    )


def media_type(content: bytes) -> str:
    """The media type of an image file, from its bytes; `NotAnImage` for anything else."""
    found = _identify(content).format or ""
    return MEDIA_TYPES["JPEG" if found == PHONE_JPEG else found]


def _identify(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise NotAnImage(
            "the bytes are no PNG, JPEG or WebP image: convert the file to one of these"
        ) from error
    except _DECODER_ERRORS as error:
        raise ImageDamaged(f"the image file is damaged or cut off ({error}): send it again, whole") from error


def _open(content: bytes, max_pixels: int, min_side: int) -> Image.Image:
    image = _identify(content)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"{width} x {height} pixels are over the limit of {max_pixels}: scale the image down"
        )
    if min(width, height) < min_side:
        raise ImageTooSmall(f"{width} x {height} pixels: send an image of at least {min_side} on each side")
    if image.format != PHONE_JPEG and getattr(image, "n_frames", 1) > 1:
        raise ImageAnimated("the image has several frames: send the one that is the query")
    return image


def _planes(image: Image.Image, channels: int) -> list[Image.Image]:
    """One float image in the scale of 0 to 255 for each channel."""
    if image.mode.startswith("I"):
        grey = Image.fromarray(np.asarray(image, dtype=np.float32) * np.float32(255 / 65535))
        return [grey] * channels
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    bands = image.convert("L" if channels == 1 else "RGB").split()
    return [band.convert("F") for band in bands]


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
