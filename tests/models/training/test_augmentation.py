"""Variants of a picture: many, in range, of the label's own pictures, and none at strength 0."""

import numpy as np
import pytest
import torch

from models.datasets import ImageSet, digits, emoji
from models.training.augmentation import Redrawing

SIZE = (32, 32)


@pytest.fixture(scope="module")
def some() -> ImageSet:
    return emoji("query").take(range(0, 1200, 100))


def redrawing(images: ImageSet, strength: float, targets: list[int] | None = None) -> Redrawing:
    numbers = torch.tensor(targets if targets is not None else range(len(images)))
    return Redrawing(torch.from_numpy(images.tensors), numbers, SIZE, strength)


@pytest.fixture(autouse=True)
def seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        yield


def test_at_strength_0_it_is_the_input_of_the_model(some: ImageSet) -> None:
    found = redrawing(some, 0.0)(torch.tensor([3, 0, 3]))

    assert np.allclose(found.numpy(), some.take([3, 0, 3]).inputs((3, *SIZE)), atol=2e-4)


def test_every_variant_is_another_in_the_range_of_pixels(some: ImageSet) -> None:
    rows = torch.arange(len(some)).repeat(20)

    found = redrawing(some, 1.0)(rows)

    assert found.shape == (len(rows), 3, *SIZE)
    assert found.dtype == torch.float32
    assert (found.min() >= 0, found.max() <= 1) == (True, True)
    assert len({picture.numpy().tobytes() for picture in found}) == len(rows)


def test_a_variant_is_nearer_to_its_picture_than_to_most_others(some: ImageSet) -> None:
    plain = torch.from_numpy(some.inputs((3, *SIZE))).flatten(1)

    variants = torch.stack([redrawing(some, 1.0)(torch.arange(len(some))).flatten(1) for _ in range(30)])

    centres = variants.mean(0)
    assert (torch.cdist(centres, plain).argmin(1) == torch.arange(len(some))).float().mean() > 0.9


def test_a_picture_is_crossed_only_with_those_of_its_label() -> None:
    white = np.full((4, 3, 48, 48), 255, np.uint8)
    white[2:, 0] = white[2:, 1] = 0  # two blue ones
    pictures = ImageSet(white, ("white", "white", "blue", "blue"), tuple("abcd"))

    of_label = redrawing(pictures, 1.0, [0, 0, 1, 1])(torch.zeros(200, dtype=torch.int64))
    of_both = redrawing(pictures, 1.0, [0, 0, 0, 0])(torch.zeros(200, dtype=torch.int64))

    assert of_label.min() > 0.99
    assert (of_both.amin((1, 2, 3)) < 0.5).float().mean() == pytest.approx(0.15, abs=0.1)


def test_paper_stays_white_but_for_the_ink(some: ImageSet) -> None:
    blank = ImageSet(np.full((1, 3, 48, 48), 255, np.uint8), ("blank",), ("blank",))

    assert redrawing(blank, 1.0)(torch.zeros(50, dtype=torch.int64)).min() > 0.99


def test_grey_pictures_are_redrawn_too() -> None:
    some = digits("train").take(range(6))

    found = redrawing(some, 1.0)(torch.arange(6))

    assert found.shape == (6, 1, *SIZE)
    assert found.isfinite().all()
