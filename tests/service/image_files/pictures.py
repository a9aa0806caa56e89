"""Image files of every kind, their chunks and segments, and how Pillow alone decodes them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.service.queries import saved

Shape = tuple[int, int, int]
WIDTH, HEIGHT = 45, 37
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each chunk of a PNG file."""
    found, position = [], 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        found.append((kind, png[position + 8 : position + 8 + length]))
        position += length + 12
    return found


def png_of(*parts: tuple[bytes, bytes]) -> bytes:
    return PNG_SIGNATURE + b"".join(chunk(kind, body) for kind, body in parts)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(
        struct.pack("<4sI", kind, len(part)) + part + b"\0" * (len(part) % 2) for kind, part in parts
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body


def riff_chunks(webp: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each chunk of a WebP file."""
    found, position = [], 12
    while position < len(webp):
        kind, length = struct.unpack_from("<4sI", webp, position)
        found.append((kind, webp[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return found


def noise(channels: int, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    """Random pixels (H, W, C), a gradient on the left half, so that every coder has both to do."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
    values[:, : size[0] // 2] = np.arange(size[1], dtype=np.uint8)[:, None, None] * 3
    return values


def pictures() -> dict[str, bytes]:
    """Sound files of every mode that the formats have, by name."""
    grey, rgb = Image.fromarray(noise(1)[..., 0]), Image.fromarray(noise(3))
    rgba, la = Image.fromarray(noise(4)), Image.fromarray(noise(2), "LA")
    deep = Image.fromarray(noise(1)[..., 0].astype(np.uint16) * 257 + 3)
    cmyk = Image.frombytes("CMYK", (WIDTH, HEIGHT), noise(4).tobytes())
    palette = rgb.quantize(16)
    found = {
        "png 1": saved(grey.convert("1"), "PNG"),
        "png 1 clear": saved(grey.convert("1"), "PNG", transparency=0),
        "png L": saved(grey, "PNG"),
        "png L clear": saved(grey, "PNG", transparency=30),
        "png LA": saved(la, "PNG"),
        "png P": saved(palette, "PNG"),
        "png P 2 bits": saved(rgb.quantize(4), "PNG", bits=2),
        "png P clear": saved(palette, "PNG", transparency=3),
        "png P alphas": saved(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "png RGB": saved(rgb, "PNG"),
        "png RGB clear": saved(rgb, "PNG", transparency=(3, 3, 3)),
        "png RGBA": saved(rgba, "PNG"),
        "png I;16": saved(deep, "PNG"),
        "jpeg MPO": saved(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)]),
        "webp L": saved(grey, "WEBP"),
        "webp RGB": saved(rgb, "WEBP", quality=70),
        "webp RGBA": saved(rgba, "WEBP"),
        "webp lossless": saved(rgb, "WEBP", lossless=True),
        "webp RGBA lossless": saved(rgba, "WEBP", lossless=True, exact=True),
    }
    for name, image in (("L", grey), ("RGB", rgb), ("CMYK", cmyk)):
        ways: dict[str, dict[str, Any]] = {
            "": {},
            "progressive": {"progressive": True},
            "poor": {"quality": 1},
            "fine": {"quality": 100, "subsampling": 0},
            "optimised": {"optimize": True},
            "restarts": {"restart_marker_blocks": 2},
            "restarts progressive": {"restart_marker_rows": 1, "progressive": True},
        }
        for way, options in ways.items():
            found[f"jpeg {name} {way}".strip()] = saved(image, "JPEG", **options)
    return found


def turned(value: int) -> bytes:
    """An EXIF block (TIFF) with an orientation and a description."""
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010E] = "a description"
    return exif.tobytes()


def as_pillow_decodes(content: bytes, shape: Shape) -> NDArray[np.float32]:
    """What the service made of a file when it gave all of it to Pillow."""
    channels, height, width = shape
    image: Image.Image = Image.open(io.BytesIO(content))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = Image.fromarray(np.asarray(image, dtype=np.float32) * np.float32(255 / 65535))
        planes = [grey] * channels
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
        if image.mode in ("1", "L"):
            planes = [image.convert("L").convert("F")] * channels
        else:
            planes = [band.convert("F") for band in image.convert("RGB").split()]
        if channels < len(planes):  # `convert("L")` rounds to 8 bits
            luma = np.array([19595, 38470, 7471]) / 65536
            planes = [Image.fromarray(np.tensordot(luma, planes, 1).astype(np.float32))]
    planes = [plane.resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    pixels = np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]) / np.float32(255)
    clipped: NDArray[np.float32] = pixels.clip(0, 1)
    return clipped
