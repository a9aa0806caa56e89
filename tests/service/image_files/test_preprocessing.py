"""A picture becomes the input as the manifest says: one linear map, of a bounded size."""

import io
import resource
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import Preprocessing
from service.images import decode_image

SHAPE = (3, 24, 20)


def file(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)


def decoded(pixels: NDArray[np.uint8], preprocessing: Preprocessing | None) -> NDArray[np.float32]:
    return decode_image(file(pixels), SHAPE, max_pixels=10**7, min_side=8, preprocessing=preprocessing)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", [(61, 37), (37, 61), (24, 20), (13, 9), (30, 400)])
@pytest.mark.parametrize("resized", [{"shortest_edge": 26}, {"size": (28, 31)}, {"size": (24, 20)}], ids=repr)
def test_it_is_the_centre_of_the_whole_that_was_resized(
    resized: dict[str, Any], size: tuple[int, int], interpolation: Any
) -> None:
    pixels = drawn(*size)
    preprocessing = Preprocessing(interpolation=interpolation, **resized)
    edge, least = preprocessing.shortest_edge or 0, min(size)
    rows, columns = preprocessing.size or tuple(edge * side // least for side in size)
    method = Image.Resampling[interpolation.upper()]
    top, left = (rows - SHAPE[1]) // 2, (columns - SHAPE[2]) // 2
    whole = [
        np.asarray(Image.fromarray(band.astype(np.float32)).resize((columns, rows), method))
        for band in pixels.transpose(2, 0, 1)
    ]
    expected = np.stack(whole)[:, top : top + SHAPE[1], left : left + SHAPE[2]] / 255

    found = decoded(pixels, preprocessing)

    assert found.shape == SHAPE
    off = np.abs(found - expected.clip(0, 1))
    if interpolation in ("nearest", "box"):  # a pixel on the border of two may be of either
        assert np.mean(off > 1e-5) < 0.1
    else:
        assert off.max() < 1e-5


def test_without_a_word_it_is_stretched_bilinear() -> None:
    pixels = drawn(50, 90)
    asked = Preprocessing(size=SHAPE[1:], interpolation="bilinear")
    assert np.array_equal(decoded(pixels, None), decoded(pixels, asked))


def test_a_picture_of_the_size_of_the_input_is_taken_as_it_is() -> None:
    pixels = drawn(*SHAPE[1:])
    asked = Preprocessing(size=SHAPE[1:], interpolation="bicubic")
    assert np.array_equal(decoded(pixels, asked), (pixels.transpose(2, 0, 1) / np.float32(255)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_map_is_linear(interpolation: Any) -> None:
    one, two = (drawn(40, 70, seed).astype(np.uint16) for seed in (1, 2))
    asked = Preprocessing(shortest_edge=26, interpolation=interpolation)
    half = ((one + two) // 2).astype(np.uint8)
    even = (2 * half - one).astype(np.uint8)  # so that half is exactly between them

    between = (decoded(one.astype(np.uint8), asked) + decoded(even, asked)) / 2
    assert np.abs(between - decoded(half, asked)).max() < 1e-5


def test_a_long_picture_is_not_made_huge() -> None:
    pixels = np.zeros((8, 200_000, 3), np.uint8)
    content = file(pixels)
    asked = Preprocessing(shortest_edge=256, interpolation="bicubic")
    before = _resident()
    found = decode_image(content, (3, 224, 224), max_pixels=10**7, min_side=8, preprocessing=asked)
    assert found.shape == (3, 224, 224)
    # The whole at 256 rows would be 6.5 GB a channel.
    assert _resident() - before < 500


def _resident() -> float:
    """The most that this process had in memory, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
