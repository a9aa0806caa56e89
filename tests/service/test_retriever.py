"""The Python API trusts its caller no more than HTTP does."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from index import GalleryStore, StoreUnreachable
from models.noise import grid_step
from service.errors import InvalidOption, PixelsInvalid
from service.images import pixels_tensor
from service.retrieval.options import RetrieveOptions, parse_options
from service.retrieval.query import checked
from service.retriever import Retriever
from service.settings import Settings
from tests.index.items import new
from tests.service.processes import run_as
from tests.service.queries import QUERIES, claims, digit, picture, tensor

SHAPE = (1, 8, 8)


def changed(value: float) -> NDArray[np.float64]:
    pixels = tensor(0).astype(np.float64)
    pixels[0, 3, 3] = value
    return pixels


REFUSED: dict[str, tuple[Any, str]] = {
    "8-bit pixels": (QUERIES.pixels[0], "divide 8-bit values by 255"),
    "8-bit pixels as floats": (QUERIES.pixels[0].astype(np.float32), "divide 8-bit values by 255"),
    "whole numbers": (np.ones(SHAPE, np.int64), "float32 or float64"),
    "booleans": (np.ones(SHAPE, bool), "float32 or float64"),
    "float16": (tensor(0).astype(np.float16), "float32 or float64"),
    "long doubles": (tensor(0).astype(np.longdouble), "float32 or float64"),
    "complex numbers": (tensor(0).astype(np.complex64), "float32 or float64"),
    "objects": (tensor(0).astype(object), "float32 or float64"),
    "texts": (tensor(0).astype(str), "float32 or float64"),
    "NaN": (changed(np.nan), "finite"),
    "infinity": (changed(np.inf), "finite"),
    "just below 0": (changed(-1e-300), "[0, 1]"),
    "just above 1": (changed(np.nextafter(1, 2)), "[0, 1]"),
    "without channels": (tensor(0)[0], "1x8x8"),
    "channels last": (np.moveaxis(tensor(0), 0, -1), "1x8x8"),
    "a batch": (tensor(0)[None], "1x8x8"),
    "nothing": (np.zeros((1, 0, 8)), "1x8x8"),
    "a number": (np.float64(0.5), "numpy array"),
    "a mask over some pixels": (np.ma.MaskedArray(tensor(0), mask=tensor(0) > 0.5), "numpy array"),
    "lists": (tensor(0).tolist(), "numpy.asarray"),
    "a torch tensor": (torch.from_numpy(tensor(0)), "numpy.asarray"),
    "a picture of Pillow": (picture(0), "numpy.asarray"),
    "the name of a file": ("digit.png", "read_bytes"),
    "the path of a file": (Path("digit.png"), "read_bytes"),
    "a bytearray": (bytearray(digit(0)), "bytes of a file"),
    "None": (None, "numpy array"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_is_none_is_refused_with_what_to_do(demo_retriever: Retriever, name: str) -> None:
    image, says = REFUSED[name]
    with pytest.raises(PixelsInvalid) as refused:
        demo_retriever.retrieve(image)
    assert says in refused.value.detail


ACCEPTED: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "float64": lambda image: image.astype(np.float64),
    "of the other byte order": lambda image: image.astype(">f4"),
    "not contiguous": lambda image: np.repeat(image, 2, axis=2)[:, :, ::2],
    "read-only": lambda image: np.frombuffer(image.tobytes(), np.float32).reshape(SHAPE),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_same_numbers_are_the_same_query_however_they_lie_in_memory(
    demo_retriever: Retriever, name: str
) -> None:
    expected = demo_retriever.retrieve(tensor(0)).model_dump()
    assert claims(demo_retriever.retrieve(ACCEPTED[name](tensor(0))).model_dump()) == claims(expected)


def test_the_image_of_the_caller_is_left_alone_and_may_change_later(demo_retriever: Retriever) -> None:
    image = tensor(0).copy()
    query = checked(image, RetrieveOptions(), demo_retriever.settings, demo_retriever.smoothed)
    np.testing.assert_array_equal(image, tensor(0))
    image[:] = np.nan
    np.testing.assert_allclose(query.image, tensor(0), atol=grid_step(demo_retriever.sigma) / 2)


def test_numbers_are_rounded_once_and_to_the_grid(demo_retriever: Retriever) -> None:
    step = grid_step(demo_retriever.sigma)
    middle = (700_000 + 0.5) * step  # goes to the even side; anything above it goes up, however little
    above = float(np.nextafter(middle, 1))
    assert np.float32(above) == np.float32(middle)  # so float32 would lose the difference

    def pixel(value: float) -> float:
        image = pixels_tensor(changed(value).tolist(), SHAPE)
        query = checked(image, RetrieveOptions(), demo_retriever.settings, demo_retriever.smoothed)
        return float(query.image[0, 3, 3])

    assert pixel(middle) == 700_000 * step
    assert pixel(above) == 700_001 * step


def test_options_of_another_type_are_refused(demo_retriever: Retriever) -> None:
    for name, value in (("top_k", True), ("top_k", "1"), ("max_samples", 256.0), ("alpha", "0.1")):
        with pytest.raises(ValidationError):
            RetrieveOptions.model_validate({name: value})
        with pytest.raises(InvalidOption):
            parse_options({name: value})


def test_none_means_not_given_for_every_option() -> None:
    given = dict.fromkeys(RetrieveOptions.model_fields)
    assert RetrieveOptions.model_validate(given) == RetrieveOptions()
    assert parse_options(given) == RetrieveOptions()


def test_what_fails_while_items_are_embedded_leaves_nothing_open(tmp_path: Path) -> None:
    """Whoever waits for a database that is away opens one retriever after the other."""
    data = run_as("folded", tmp_path)
    store = GalleryStore(data / "gallery.sqlite3")
    store.add([new("an item", image=digit(0))], "another model")
    store.close()

    def away(ids: Iterable[str]) -> Iterable[str]:
        raise StoreUnreachable("the database is away")

    given = Settings(data_dir=data, variant="folded", gallery_samples=128, redis_url=None)
    before = threading.active_count()
    with pytest.raises(StoreUnreachable):
        Retriever.open(given, progress=away)
    assert threading.active_count() == before
