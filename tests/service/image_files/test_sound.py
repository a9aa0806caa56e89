"""A sound file is decoded to the pixels that it holds, whatever else it carries."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, PngImagePlugin

from service.images import decode_image, media_type, read_image
from tests.service.image_files.pictures import (
    HEIGHT,
    PNG_SIGNATURE,
    WIDTH,
    Shape,
    as_pillow_decodes,
    chunk,
    chunks,
    noise,
    pictures,
    png_of,
    riff,
    riff_chunks,
    segment,
    turned,
)
from tests.service.queries import saved

PICTURES = pictures()
CASES = Path(__file__).parent.parent / "cases"
SHAPES: list[Shape] = [(1, HEIGHT, WIDTH), (3, HEIGHT, WIDTH), (1, 8, 8), (3, 16, 24)]
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def decode(content: bytes, shape: Shape = (3, HEIGHT, WIDTH)) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_image(content, shape, max_pixels=10**6, min_side=8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_the_pixels_are_those_that_pillow_reads_of_the_whole_file(name: str, shape: Shape) -> None:
    assert_array_equal(decode(PICTURES[name], shape), as_pillow_decodes(PICTURES[name], shape))


LONG = bytes(3 * 2**20)
JUNK = {
    "a text of 3 MB, packed": (b"zTXt", b"key\0\0" + zlib.compress(LONG)),
    "a text that cannot be unpacked": (b"zTXt", b"key\0\0nothing of the kind"),
    "a text by an unknown method": (b"zTXt", b"key\0\7" + zlib.compress(b"text")),
    "an international text of 3 MB": (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LONG)),
    "a text that is no text": (b"tEXt", b"\xff" * 100),
    "a colour profile of 3 MB": (b"iCCP", b"name\0\0" + zlib.compress(LONG)),
    "an empty colour profile": (b"iCCP", b""),
    "no resolution": (b"pHYs", b""),
    "no gamma": (b"gAMA", b""),
    "no chromaticities": (b"cHRM", b""),
    "no rendering intent": (b"sRGB", b""),
    "no time": (b"tIME", b""),
    "a broken EXIF": (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
    "no EXIF": (b"eXIf", b""),
    "an EXIF text that is not hexadecimal": (b"tEXt", b"Raw profile type exif\0\nexif\n    8\nzz\n"),
    "an animation of no frames": (b"acTL", b""),
    "a frame of no animation": (b"fcTL", b""),
    "a private chunk": (b"prIv", b"\0" * 1000),
}


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("png")])
def test_junk_in_a_png_changes_no_pixel(name: str) -> None:
    content = PICTURES[name]
    header, *rest = chunks(content)
    sound = decode(content)
    for what, junk in JUNK.items():
        for parts in ([header, junk, *rest], [header, *rest[:-1], junk, rest[-1]]):
            assert_array_equal(decode(png_of(*parts)), sound, err_msg=what)
    # A checksum of no importance, and bytes behind the end.
    wrong = chunk(b"tEXt", b"key\0value")[:-1] + b"?"
    assert_array_equal(decode(content[:33] + wrong + content[33:] + b"trailing"), sound)


JPEG_JUNK = {
    "a short JFIF": segment(0xE0, b"JFIF\0"),
    "a broken EXIF": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
    "an EXIF of nothing": segment(0xE1, b"Exif\0\0"),
    "a broken profile": segment(0xE2, b"ICC_PROFILE\0"),
    "a broken list of pictures": segment(0xE2, b"MPF\0\xff\xff\xff\xff"),
    "a Photoshop block": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    "a short Adobe block": segment(0xEE, b"Adobe"),
    "a comment": segment(0xFE, b"\xff" * 1000),
    "fill bytes": b"\xff\xff\xff",
}


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("jpeg")])
def test_junk_in_a_jpeg_changes_no_pixel(name: str) -> None:
    content = PICTURES[name]
    sound = decode(content)
    for what, junk in JPEG_JUNK.items():
        assert_array_equal(decode(content[:2] + junk + content[2:]), sound, err_msg=what)
    assert_array_equal(decode(content + b"a preview, or whatever a phone appends"), sound)


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("webp")])
def test_junk_in_a_webp_changes_no_pixel(name: str) -> None:
    parts = riff_chunks(PICTURES[name])
    sound = decode(PICTURES[name])
    if parts[0][0] != b"VP8X":
        size = b"".join((side - 1).to_bytes(3, "little") for side in (WIDTH, HEIGHT))
        alpha = 0x10 if "RGBA" in name else 0
        parts = [(b"VP8X", bytes([alpha, 0, 0, 0]) + size), *parts]
    header = (b"VP8X", bytes([parts[0][1][0] | 0x2C]) + parts[0][1][1:])
    picture = parts[1:]
    for junk in ((b"EXIF", b"MM\0*\xff\xff"), (b"XMP ", b"\xff" * 99), (b"junk", b"")):
        for order in ([header, *picture, junk], [header, (b"ICCP", b"?"), *picture, junk]):
            assert_array_equal(decode(riff(*order)), sound)
    assert_array_equal(decode(riff(*parts) + b"trailing"), sound)


@pytest.mark.parametrize(
    "name", ["png-text-chunk-2MB-ztxt.png", "png-raw-profile-exif-bad-hex.png", "png-phys-empty.png"]
)
def test_files_that_other_programs_wrote_are_read_as_without_their_junk(name: str) -> None:
    content = (CASES / name).read_bytes()
    plain = [part for part in chunks(content) if part[0] in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]
    assert_array_equal(decode(content), as_pillow_decodes(png_of(*plain), (3, HEIGHT, WIDTH)))


@pytest.mark.parametrize("value", range(10))
def test_the_orientation_is_applied_wherever_it_is_written(value: int) -> None:
    picture = Image.fromarray(noise(3))
    exif, xmp = turned(value), XMP % value
    text = b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
    header, *rest = chunks(saved(picture, "PNG"))
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
    files = [
        saved(picture, "PNG", exif=exif),
        saved(picture, "JPEG", exif=exif),
        saved(picture, "WEBP", lossless=True, exif=exif),
        saved(picture, "JPEG", xmp=xmp),
        saved(picture, "WEBP", lossless=True, xmp=xmp),
        saved(picture, "PNG", pnginfo=info),
        png_of(header, (b"tEXt", b"Raw profile type exif\0" + text), *rest),
        png_of(header, *rest[:-1], (b"eXIf", exif.removeprefix(b"Exif\0\0")), rest[-1]),
        saved(picture, "JPEG", exif=exif, xmp=XMP % 3),  # EXIF comes first
    ]
    for number, content in enumerate(files):
        expected = as_pillow_decodes(content, (3, HEIGHT, WIDTH))
        assert_array_equal(decode(content), expected, err_msg=str(number))


@pytest.mark.parametrize(("kind", "value"), [("B", 6), ("H", 6), ("I", 6)])
@pytest.mark.parametrize("order", "<>")
def test_an_orientation_is_read_in_either_order_and_each_type(kind: str, value: int, order: str) -> None:
    code = {"B": 1, "H": 3, "I": 4}[kind]
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    block = mark + struct.pack(order + "IH", 8, 1) + struct.pack(order + "HHI", 0x0112, code, 1)
    block += struct.pack(order + kind, value).ljust(4, b"\0") + bytes(4)
    header, *rest = chunks(PICTURES["png RGB"])
    picture = Image.fromarray(noise(3)).transpose(Image.Transpose.ROTATE_270)
    assert_array_equal(
        decode(png_of(header, (b"eXIf", block), *rest)),
        as_pillow_decodes(saved(picture, "PNG"), (3, HEIGHT, WIDTH)),
    )


@pytest.mark.parametrize("depth", [2, 4, 16])
def test_a_transparent_grey_is_black_at_every_depth(depth: int) -> None:
    """Of less than 8 bits Pillow compares it with the stretched values, of 16 it forgets it."""
    values = np.arange(64 * 64).reshape(64, 64) % 2**depth
    key = 2
    if depth == 16:
        rows = [b"\0" + row.astype(">u2").tobytes() for row in values]
    else:
        bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(64, -1)
        rows = [b"\0" + np.packbits(row).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", 64, 64, depth, 0, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    content = png_of((b"IHDR", header), (b"tRNS", struct.pack(">H", key)), (b"IDAT", data), (b"IEND", b""))
    expected = np.where(values == key, 0, values) / (2**depth - 1)
    np.testing.assert_allclose(decode(content, (1, 64, 64))[0], expected, atol=1e-6)


def test_the_parts_of_the_pixel_data_may_be_as_small_as_they_like() -> None:
    content = PICTURES["png RGB"]
    parts = []
    for kind, body in chunks(content):
        pieces = [body[at : at + 1] for at in range(len(body))] if kind == b"IDAT" else [body]
        parts += [(kind, piece) for piece in [b"", *pieces] if piece or kind != b"IHDR"]
    assert_array_equal(decode(png_of(*parts)), decode(content))


ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


def test_interlaced_pictures_of_every_size_are_whole() -> None:
    for width in range(8, 18):
        for height in (8, 9, 13):
            values = noise(1, size=(width, height))[..., 0]
            passes = b""
            for left, top, across, down in ADAM7:
                part = values[top::down, left::across]
                passes += b"".join(b"\0" + row.tobytes() for row in part if row.size)
            header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
            content = png_of((b"IHDR", header), (b"IDAT", zlib.compress(passes)), (b"IEND", b""))
            assert_array_equal(
                decode(content, (1, height, width))[0], values.astype(np.float32) / np.float32(255)
            )


JPEG_SIZES = [(8, 8), (9, 17), (64, 64), (333, 200), (700, 9), (1200, 900)]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("content", ["noise", "constant", "gradient"])
def test_no_sound_jpeg_is_refused(mode: str, content: str) -> None:
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    for size in JPEG_SIZES:
        values = noise(channels, size=size)
        if content == "constant":
            values[:] = 200
        elif content == "gradient":
            values[:] = (np.arange(size[0]) % 256)[None, :, None]
        image = Image.frombytes(mode, size, values.tobytes())
        for options in (
            {}, {"quality": 3}, {"quality": 100, "subsampling": 0}, {"subsampling": 1}, {"optimize": True},
            {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"progressive": True},
            {"progressive": True, "quality": 3}, {"progressive": True, "restart_marker_blocks": 3},
        ):  # fmt: skip
            file = saved(image, "JPEG", **options)
            shape = (3, 16, 16)
            found = decode_image(file, shape, max_pixels=10**7, min_side=8)
            assert_array_equal(found, as_pillow_decodes(file, shape))


def test_a_picture_of_one_frame_is_no_animation() -> None:
    header, *rest = chunks(PICTURES["png RGB"])
    frame = struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)
    single = png_of(header, (b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", frame), *rest)
    assert_array_equal(decode(single), decode(PICTURES["png RGB"]))


def test_the_media_type_is_read_from_the_first_bytes() -> None:
    for name, content in PICTURES.items():
        assert media_type(content) == f"image/{name.split()[0]}"
    assert media_type(PNG_SIGNATURE) == "image/png"


def test_a_picture_knows_its_size_and_its_colours() -> None:
    """Grey that is saved in colours has none; neither has the yellow of paper."""
    shape = (1, 8, 8)
    grey, colours = Image.fromarray(noise(1)[..., 0]), Image.fromarray(noise(3))
    paper = Image.fromarray((noise(1) / 255 * np.array([255, 250, 235])).astype(np.uint8))
    for form in ("PNG", "JPEG", "WEBP"):
        for image, colourful in (
            (grey, False),
            (grey.convert("RGB"), False),
            (paper, False),
            (colours, True),
        ):
            picture = read_image(saved(image, form), shape, max_pixels=10**6, min_side=8)
            assert (picture.size, picture.colourful) == ((WIDTH, HEIGHT), colourful)
    lying = read_image(saved(colours, "PNG", exif=turned(6)), shape, max_pixels=10**6, min_side=8)
    assert lying.size == (HEIGHT, WIDTH)
