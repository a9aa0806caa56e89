"""Files as people send them, made of small pictures; and other files whose pixels are a little apart."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Integers = NDArray[np.int64]
# An EXIF tag, and the ways in which a camera may have been held.
_ORIENTATION, _TURNS = 0x0112, (3, 6, 8)
# Of the interval in which the length of a change is sought, once it is known to a factor of 2.
_HALVINGS = 8


def photo(picture: NDArray[np.uint8], size: tuple[int, int], seed: int) -> Image.Image:
    """A `picture` (C, H, W) of 8 bits, made `size` (width, height) large, unevenly lit and noisy."""
    generator = np.random.default_rng(seed)
    rgb = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
    large = Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BICUBIC)
    left, right = generator.uniform(0.9, 1, 2)
    light = np.linspace(left, right, size[0])[None, :, None]
    values = np.asarray(large) * light + generator.normal(0, 3, (size[1], size[0], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNS[image.width % len(_TURNS)]
    return _saved(image, "JPEG", exif=exif)


def _transparent(image: Image.Image) -> Image.Image:
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda level: 255 - level // 4))
    return clear


def _sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image.convert("F")) * 257).astype(np.uint16))


# By what they are: from a photo to the bytes of a file.
FORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG, RGB": lambda image: _saved(image, "PNG"),
    "PNG, grey": lambda image: _saved(image.convert("L"), "PNG"),
    "PNG, 16-bit grey": lambda image: _saved(_sixteen_bits(image), "PNG"),
    "PNG, palette": lambda image: _saved(image.quantize(200), "PNG"),
    "PNG, transparent": lambda image: _saved(_transparent(image), "PNG"),
    "JPEG": lambda image: _saved(image, "JPEG", quality=85),
    "JPEG, grey": lambda image: _saved(image.convert("L"), "JPEG", quality=60),
    "JPEG, CMYK": lambda image: _saved(image.convert("CMYK"), "JPEG"),
    "JPEG, turned": _turned,
    "WebP": lambda image: _saved(image, "WEBP", quality=80),
    "WebP, lossless": lambda image: _saved(image, "WEBP", lossless=True),
}


@dataclass(frozen=True)
class Pixels:
    """The pixels of a file, upright: `values` (H, W) or (H, W, 3), whole numbers up to `white`."""

    values: Integers
    white: int

    @property
    def unit(self) -> NDArray[np.float64]:
        """In [0, 1]."""
        return self.values / self.white

    def file(self) -> bytes:
        """A PNG file of these pixels."""
        depth = np.uint8 if self.white == 255 else np.uint16
        return _saved(Image.fromarray(self.values.astype(depth)), "PNG", compress_level=1)

    def moved(self, direction: NDArray[np.floating], radius: float) -> "Pixels":
        """Moved in a `direction` as far as whole numbers allow: by less than `radius` (l2, of [0, 1]).

        Where that is less than half a step for most, those move by one that have the farthest to go.
        """

        def fits(scale: float) -> bool:
            return bool(np.linalg.norm(np.rint(scale * direction)) < radius * self.white * (1 - 1e-9))

        high = radius * self.white / float(np.linalg.norm(direction))
        while fits(high):
            high *= 2
        low = 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        change = np.rint(low * direction).astype(np.int64)
        return Pixels((self.values + change).clip(0, self.white), self.white)


def pixels(content: bytes) -> Pixels:
    """Those of an image file, as Pillow decodes it, laid over black where it is transparent."""
    image: Image.Image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode.startswith("I"):
        return Pixels(np.asarray(image).astype(np.int64), 65_535)
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), clear)
    image = image.convert("L" if grey else "RGB")
    return Pixels(np.asarray(image).astype(np.int64), 255)
