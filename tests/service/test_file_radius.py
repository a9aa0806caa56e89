"""No change of a file's pixels below its radius moves the model input by the radius."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models import Preprocessing
from service.file_radius import FileClaim, FileSteps, file_claim
from service.images import Picture, read_image
from service.resizing import LONGEST_SIDE
from service.retriever import Retriever
from tests.service.image_files.pictures import chunk, turned
from tests.service.queries import digit, saved, tensor

Pixels = NDArray[np.integer]
RADIUS = 0.3
INTERPOLATIONS = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


def read(content: bytes, shape: tuple[int, int, int], asked: Preprocessing | None = None) -> Picture:
    return read_image(content, shape, max_pixels=10**6, min_side=8, preprocessing=asked)


def claimed(picture: Picture, shape: tuple[int, int, int], radius: float = RADIUS) -> FileClaim:
    found = file_claim(radius, picture.pixels, shape)
    assert isinstance(found, FileClaim)
    return found


def told(claim: FileClaim) -> FileSteps:
    assert claim.steps is not None
    return claim.steps


def stored(pixels: Pixels, **options: Any) -> bytes:
    """A PNG file of exactly these pixels."""
    return saved(Image.fromarray(pixels), "PNG", **options)


def distance(one: Picture, other: Picture) -> float:
    return float(np.linalg.norm(one.tensor.astype(np.float64) - other.tensor))


@st.composite
def preprocessings(draw: st.DrawFn, shape: tuple[int, int, int]) -> Preprocessing | None:
    more = draw(st.integers(0, 20))
    interpolation: Any = draw(st.sampled_from(INTERPOLATIONS))
    sizes: list[dict[str, Any]] = [
        {"shortest_edge": max(shape[1:]) + more},
        {"size": (shape[1] + more, shape[2] + more)},
    ]
    return draw(st.none() | st.sampled_from([Preprocessing(interpolation=interpolation, **s) for s in sizes]))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_change_of_the_file_below_its_radius_moves_the_input_by_the_radius(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1, 8, 8), (3, 8, 8), (3, 24, 20), (1, 13, 31)]))
    size = data.draw(st.tuples(st.integers(8, 90), st.integers(8, 90)))
    kind = data.draw(st.sampled_from(["grey", "16-bit grey", "RGB"]))
    asked = data.draw(preprocessings(shape))
    orientation = data.draw(st.integers(1, 8))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    white = 65_535 if kind == "16-bit grey" else 255
    pixels = generator.integers(0, white + 1, size + ((3,) if kind == "RGB" else ()))
    dtype = np.uint16 if white == 65_535 else np.uint8

    def file(values: Pixels) -> Picture:
        return read(stored(values.astype(dtype), exif=turned(orientation)), shape, asked)

    before = file(pixels)
    claim = claimed(before, shape)
    assert before.pixels.colour == kind
    ways: list[Callable[[], NDArray[np.floating]]] = [
        lambda: generator.standard_normal(pixels.shape),
        lambda: np.ones(pixels.shape),
        lambda: generator.standard_normal(pixels.shape) ** 9,
        lambda: np.cos(np.linspace(0, 9, pixels.size)).reshape(pixels.shape),
    ]
    for way in ways:
        direction = way()
        change = direction / np.linalg.norm(direction) * claim.radius * white
        moved = (pixels + np.trunc(change)).clip(0, white).astype(np.int64)
        assert np.linalg.norm(moved - pixels) / white < claim.radius
        assert distance(file(moved), before) < RADIUS
    one = pixels.copy()
    y, x = generator.integers(0, size[0]), generator.integers(0, size[1])
    most = np.ceil(told(claim).one_pixel * white / 255) - 1
    one[y, x] = (one[y, x] + most * generator.choice([-1, 1])).clip(0, white)
    assert distance(file(one), before) < RADIUS
    most = max(np.ceil(told(claim).all_pixels * white / 255) - 1, 0)
    assert distance(file((pixels + most).clip(0, white)), before) < RADIUS


@pytest.mark.parametrize("asked", [None, Preprocessing(shortest_edge=40, interpolation="bicubic")], ids=str)
@pytest.mark.parametrize("size", [(12, 10), (30, 26)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_worst_change_moves_the_input_by_nearly_all_of_it(
    asked: Preprocessing | None, size: tuple[int, int], channels: int
) -> None:
    """A claim that is much too small would pass every other test."""
    shape = (channels, 24, 20)
    grey = np.full(size, 30_000)

    def file(values: Pixels) -> Picture:
        return read(stored(values.astype(np.uint16)), shape, asked)

    before = file(grey)
    # What decoding does to one plane, pixel by pixel, without looking at any norm.
    columns = np.stack(
        [
            (file(grey + unit).tensor[0].astype(np.float64) - before.tensor[0]).reshape(-1)
            for unit in (20_000 * np.eye(size[0] * size[1], dtype=np.int64)).reshape(-1, *size)
        ]
    )
    _, _, rows = np.linalg.svd(columns.T, full_matrices=False)
    claim = claimed(before, shape, radius=0.05)
    worst = rows[0].reshape(size) * claim.radius * 65_535
    moved = file(grey + np.trunc(worst).astype(np.int64))
    assert 0.98 * 0.05 < distance(moved, before) < 0.05


def test_unsound_claims_are_seen_to_fail() -> None:
    """What the tests above would have said of two mistakes."""
    shape = (1, 24, 20)
    pixels = np.full((24, 20, 3), 100, np.uint8)
    before = read(stored(pixels), shape)
    # A map that is taken to enlarge nothing, of a file that is enlarged.
    small = np.full((9, 9), 100, np.uint8)
    was, now = read(stored(small), shape), read(stored(small + np.uint8(8)), shape)
    assert np.linalg.norm(np.full((9, 9), 8 / 255)) < RADIUS
    assert distance(now, was) > RADIUS
    assert claimed(was, shape).radius < 9 * 8 / 255
    # Grey in 8 bits, as Pillow makes it: one step of blue moves every pixel from below .5 to above.
    blue = pixels + np.array([0, 1, 0], np.uint8)
    eight_bits = [np.asarray(Image.fromarray(one).convert("L")) / 255 for one in (pixels, blue)]
    change = float(np.linalg.norm((blue.astype(int) - pixels) / 255))
    share = change * float(np.linalg.norm([19595, 38470, 7471])) / 65_536
    assert np.linalg.norm(eight_bits[1] - eight_bits[0]) > share
    assert distance(read(stored(blue), shape), before) < share


FORMS = {
    "PNG": "the 45x37 RGB pixels of the PNG file",
    "JPEG": "the 45x37 RGB pixels that the JPEG file is decoded to",
    "WEBP": "the 45x37 RGB pixels that the WEBP file is decoded to",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_unit_says_what_the_pixels_are(form: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 45, 3), np.uint8))
    shape = (3, 8, 8)
    assert read(saved(image, form), shape).pixels.unit == f"l2 over [0,1] values of {FORMS[form]}"
    if form != "JPEG":
        clear = image.copy()
        clear.putalpha(99)
        assert read(saved(clear, form), shape).pixels.unit.endswith(f"{FORMS[form]}, laid over black")


def test_modes_of_png_are_told_apart() -> None:
    grey = Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20))
    deep = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))
    colours = grey.convert("RGB")

    def named(content: bytes) -> str:
        return read(content, (1, 8, 8)).pixels.unit.removeprefix("l2 over [0,1] values of the 20x20 ")

    assert (
        named(saved(grey, "PNG")) == named(saved(grey.convert("1"), "PNG")) == "grey pixels of the PNG file"
    )
    assert named(saved(colours.quantize(7), "PNG")) == "RGB pixels of the PNG file"
    assert named(saved(deep, "PNG")) == "16-bit grey pixels of the PNG file"
    assert named(saved(deep, "PNG", transparency=7)).endswith("of the PNG file, laid over black")
    assert named(deep_colours(20)) == "RGB pixels of the PNG file, the upper 8 bits of each value"
    assert claimed(read(deep_colours(20), (1, 8, 8)), (1, 8, 8)).steps is None


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_with_transparency_is_grey(shape: tuple[int, int, int], depth: int) -> None:
    """Of three equal bands a change would count three times over: the file has one value a pixel."""
    values = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    grey = Image.fromarray(values)
    opaque = grey.copy()
    opaque.putalpha(255)
    plain, alpha = read(saved(grey, "PNG"), shape), read(saved(opaque, "PNG"), shape)
    np.testing.assert_array_equal(alpha.tensor, plain.tensor)
    assert alpha.pixels == replace(plain.pixels, over_black=True)
    assert claimed(alpha, shape).radius == claimed(plain, shape).radius
    assert claimed(alpha, shape).steps is None
    few = read(grey_with_a_clear_value(values >> (8 - depth), depth), shape).pixels
    assert few == alpha.pixels


def grey_with_a_clear_value(values: NDArray[np.uint8], depth: int) -> bytes:
    """A PNG file of grey values of so many bits, the smallest of which is transparent."""
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, 0, 0, 0, 0)
    bits = np.unpackbits(values[:, :, None], axis=2)[:, :, 8 - depth :].reshape(len(values), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", b"\0\0"), chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def deep_colours(side: int) -> bytes:
    """A PNG file of 16-bit colours."""
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(6 * side) for _ in range(side))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_pixel_of_a_large_photo_may_be_anything_and_all_may_move_a_little() -> None:
    photo = read(stored(np.full((480, 640, 3), 99, np.uint8)), (3, 48, 48))
    claim = claimed(photo, (3, 48, 48))
    assert told(claim).one_pixel == 255
    assert 0.9 < told(claim).all_pixels / (255 * RADIUS / np.sqrt(3 * 48 * 48)) <= 1
    assert claim.radius > 10 * RADIUS


def test_where_nothing_can_be_claimed_it_is_said() -> None:
    shape = (3, 8, 8)
    pixels = read(stored(np.zeros((9, 9), np.uint8)), shape).pixels
    longer = replace(pixels, down=replace(pixels.down, before=LONGEST_SIDE + 1))
    assert (
        file_claim(RADIUS, longer, shape) == "a side of the picture has more than 65536 pixels: scale it down"
    )
    assert file_claim(1e-6, pixels, shape) == "the radius is smaller than what decoding may round"
    nothing = claimed(read(stored(np.zeros((9, 9), np.uint8)), shape), shape, radius=0.0)
    assert (nothing.radius, nothing.steps) == (0, FileSteps(0, 0))


def test_an_answer_to_a_file_has_a_radius_of_the_file(demo_retriever: Retriever) -> None:
    large = saved(Image.open(io.BytesIO(digit(3))).resize((160, 120), Image.Resampling.NEAREST), "PNG")
    of_file, of_pixels = demo_retriever.retrieve(large), demo_retriever.retrieve(tensor(3))
    again = demo_retriever.retrieve(digit(3)).certificate
    found = of_file.certificate
    assert found.radius > 0
    assert found.file_radius == claimed(read(large, (1, 8, 8)), (1, 8, 8), found.radius).radius
    assert found.file_radius_unit == "l2 over [0,1] values of the 160x120 grey pixels of the PNG file"
    assert found.file_steps is not None
    assert found.file_reason is None
    assert of_pixels.certificate.file_radius is None
    assert of_pixels.certificate.file_reason == "no file was sent: radius is about the pixels themselves"
    # The same question as the numbers, whose answer is kept: and yet about the file.
    assert again.radius == of_pixels.certificate.radius
    assert again.file_radius is not None
    assert 0.999 * again.radius < again.file_radius < again.radius
