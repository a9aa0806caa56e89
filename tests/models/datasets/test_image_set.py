"""A set of images as inputs of a model: the tensors that the service would make of their files."""

import numpy as np
import pytest

from models.datasets import ImageSet, digits, emoji
from service.images import decode_image, png


def as_files(images: ImageSet, shape: tuple[int, int, int]) -> list[np.ndarray]:
    return [decode_image(png(pixels), shape, max_pixels=10**6, min_side=1) for pixels in images.pixels]


@pytest.fixture(scope="module")
def some() -> ImageSet:
    return emoji("query").take(range(0, 600, 60))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 48), (3, 64, 40), (1, 8, 8)], ids=str)
def test_a_picture_sent_as_a_file_gives_the_input_that_training_saw(
    shape: tuple[int, int, int], some: ImageSet
) -> None:
    inputs = some.inputs(shape)

    assert (inputs.shape, inputs.dtype) == ((len(some), *shape), np.float32)
    assert np.array_equal(inputs, as_files(some, shape))


def test_grey_pictures_become_inputs_of_a_colour_model() -> None:
    some = digits("query").take([3, 1])

    assert np.array_equal(some.inputs((3, 16, 16)), as_files(some, (3, 16, 16)))
    assert np.array_equal(some.inputs((1, 8, 8)), some.tensors)


def test_a_model_of_four_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="images have 1 or 3 channels, the model takes 4"):
        digits("query").inputs((4, 8, 8))


def test_taking_rows_keeps_what_belongs_together(some: ImageSet) -> None:
    few = some.take(np.array([4, 2]))

    assert few.ids == (some.ids[4], some.ids[2])
    assert few.labels == (some.labels[4], some.labels[2])
    assert few.metadata == (some.metadata[4], some.metadata[2])
    assert np.array_equal(few.pixels, some.pixels[[4, 2]])
    assert few.about == some.about
    assert digits("query").take([0]).metadata == ()
