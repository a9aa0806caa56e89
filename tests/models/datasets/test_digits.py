"""The split of the digits: a query must never be trained on, nor be in the gallery."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from models.datasets import DATASETS, ImageSet, digits
from models.datasets.digits import Part

PARTS = get_args(Part)


@pytest.fixture(scope="module")
def parts() -> dict[str, ImageSet]:
    return {part: digits(part) for part in PARTS}


def test_every_image_is_in_exactly_one_part(parts: dict[str, ImageSet]) -> None:
    ids = [id_ for part in parts.values() for id_ in part.ids]

    assert sorted(ids) == [f"digits-{row:04d}" for row in range(1797)]


def test_the_parts_have_the_sizes_that_the_documents_name(parts: dict[str, ImageSet]) -> None:
    # 901 is in the shipped manifest; the other two are in the benchmarks.
    assert {name: len(part) for name, part in parts.items()} == {"train": 901, "gallery": 600, "query": 296}


def test_each_label_is_dealt_in_rounds_of_six(parts: dict[str, ImageSet]) -> None:
    totals = np.bincount(load_digits().target)
    for label, total in enumerate(totals):
        counts = {name: part.labels.count(str(label)) for name, part in parts.items()}

        rounds, rest = divmod(int(total), 6)
        assert counts == {
            "train": 3 * rounds + len([turn for turn in range(rest) if turn in (0, 2, 4)]),
            "gallery": 2 * rounds + len([turn for turn in range(rest) if turn in (1, 3)]),
            "query": rounds,
        }


@pytest.mark.parametrize("part", PARTS)
def test_an_id_is_the_position_in_scikit_learns_data(part: Part, parts: dict[str, ImageSet]) -> None:
    original = load_digits()
    data = parts[part]
    rows = [int(id_.removeprefix("digits-")) for id_ in data.ids]

    assert list(data.labels) == [str(original.target[row]) for row in rows]
    # 0..16 in the original; 16 steps of 255/16 on the 8-bit grid, so dividing gives the original back.
    assert np.array_equal(np.rint(data.pixels[:, 0] / (255 / 16)), original.images[rows])


@pytest.mark.parametrize("part", PARTS)
def test_tensors_are_on_the_8_bit_grid_from_0_to_1(part: Part, parts: dict[str, ImageSet]) -> None:
    data = parts[part]

    assert data.pixels.dtype == np.uint8
    assert data.tensors.dtype == np.float32
    assert data.tensors.shape == data.pixels.shape == (len(data), 1, 8, 8)
    assert (data.tensors.min(), data.tensors.max()) == (0, 1)
    assert np.array_equal(np.rint(data.tensors * 255).astype(np.uint8), data.pixels)
    assert np.abs(data.tensors.astype(np.float64) * 255 - data.pixels).max() < 1e-4


def test_no_picture_is_in_two_parts(parts: dict[str, ImageSet]) -> None:
    pictures = {name: {image.tobytes() for image in part.pixels} for name, part in parts.items()}

    assert sum(map(len, pictures.values())) == len(set().union(*pictures.values()))


def test_another_process_sees_the_same_split(
    elsewhere: dict[str, NDArray[np.generic]], parts: dict[str, ImageSet]
) -> None:
    assert np.array_equal(elsewhere["query_pixels"], parts["query"].pixels)
    assert tuple(elsewhere["query_ids"]) == parts["query"].ids


def test_data_sets_are_found_by_name(parts: dict[str, ImageSet]) -> None:
    assert np.array_equal(DATASETS["digits"]("gallery").pixels, parts["gallery"].pixels)


def test_the_zero_shot_split_asks_for_labels_that_training_never_saw(parts: dict[str, ImageSet]) -> None:
    train, gallery, query = (DATASETS["digits-zero-shot"](part) for part in ("train", "gallery", "query"))

    assert set(train.labels) == set("01234")
    assert set(gallery.labels) == set("56789")
    assert gallery.ids == query.ids
    assert sorted((*train.ids, *query.ids)) == sorted(id_ for part in parts.values() for id_ in part.ids)
    known = dict(zip(parts["query"].ids, parts["query"].pixels, strict=True))
    for id_, pixels in zip(query.ids, query.pixels, strict=True):
        assert id_ not in known or np.array_equal(known[id_], pixels)
