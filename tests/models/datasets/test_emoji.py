"""The emoji: a query is drawn by a designer that neither training nor the gallery has."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from models.datasets import DATASETS, ImageSet
from models.datasets.emoji import DESIGNS, FOLDER, held_out
from models.datasets.image_set import Part

PARTS = get_args(Part)


@pytest.fixture(scope="module")
def seen() -> dict[str, ImageSet]:
    return {part: DATASETS["emoji"](part) for part in PARTS}


@pytest.fixture(scope="module")
def unseen() -> ImageSet:
    return DATASETS["emoji-unseen"]("query")


def designers(images: ImageSet) -> set[str]:
    return {more["designer"] for more in images.metadata}


def test_the_parts_have_the_sizes_that_the_documents_name(
    seen: dict[str, ImageSet], unseen: ImageSet
) -> None:
    sizes = {part: (len(images), len(set(images.labels))) for part, images in seen.items()}

    assert sizes == {"train": (5813, 1225), "gallery": (7687, 1628), "query": (1225, 1225)}
    assert (len(unseen), len(set(unseen.labels))) == (403, 403)


def test_queries_are_by_a_designer_that_is_nowhere_else(seen: dict[str, ImageSet], unseen: ImageSet) -> None:
    others = {"Emoji One", "Microsoft", "Mozilla", "Google"}

    assert designers(seen["query"]) == designers(unseen) == {"Twitter"}
    assert designers(seen["train"]) == designers(seen["gallery"]) == others


def test_near_twins_are_never_one_in_the_gallery_and_one_among_the_queries(
    seen: dict[str, ImageSet], unseen: ImageSet
) -> None:
    for images in (*seen.values(), unseen):
        designs = {more["design"] for more in images.metadata}
        assert ("fluent-emoji" in designs) == ("fluent-emoji-flat" in designs)


def test_every_query_has_its_label_in_the_gallery(seen: dict[str, ImageSet], unseen: ImageSet) -> None:
    drawings = Counter(seen["gallery"].labels)

    assert min(drawings.values()) >= 3
    assert {*seen["query"].labels, *unseen.labels} <= set(drawings)


def test_labels_of_the_second_split_are_never_trained_on(seen: dict[str, ImageSet], unseen: ImageSet) -> None:
    assert not set(seen["train"].labels) & set(unseen.labels)
    assert set(seen["query"].labels) <= set(seen["train"].labels)
    assert {label for label in seen["gallery"].labels if held_out(label)} >= set(unseen.labels)
    assert DATASETS["emoji-unseen"]("train").ids == seen["train"].ids
    assert DATASETS["emoji-unseen"]("gallery").ids == seen["gallery"].ids


def test_the_zero_shot_split_has_one_drawing_of_each_designer(seen: dict[str, ImageSet]) -> None:
    train, gallery, query = (DATASETS["emoji-zero-shot"](part) for part in PARTS)

    assert train.ids == seen["train"].ids
    assert gallery.ids == query.ids
    assert all(map(held_out, gallery.labels))
    assert not set(train.labels) & set(gallery.labels)
    drawings = Counter(
        (label, more["designer"]) for label, more in zip(gallery.labels, gallery.metadata, strict=True)
    )
    assert max(drawings.values()) == 1
    assert min(Counter(gallery.labels).values()) >= 2
    assert (len(gallery), len(set(gallery.labels))) == (1605, 403)


def test_an_id_is_the_design_and_the_label(seen: dict[str, ImageSet], unseen: ImageSet) -> None:
    for images in (seen["gallery"], seen["query"], unseen):
        assert len(set(images.ids)) == len(images)
        for id_, label, more in zip(images.ids, images.labels, images.metadata, strict=True):
            assert id_ == f"emoji-{more['design']}-{label}"
    assert "emoji-noto-grinning-face" in seen["gallery"].ids
    assert set(seen["train"].ids) <= set(seen["gallery"].ids)


def test_no_designer_has_one_picture_for_two_labels(seen: dict[str, ImageSet], unseen: ImageSet) -> None:
    for images in (seen["gallery"], seen["query"], unseen):
        pictures = Counter(
            (more["design"], pixels.tobytes())
            for more, pixels in zip(images.metadata, images.pixels, strict=True)
        )
        assert max(pictures.values()) == 1


def test_pictures_are_colourful_drawings_on_white(seen: dict[str, ImageSet]) -> None:
    pixels = seen["train"].pixels

    assert (pixels.dtype, pixels.shape[1:]) == (np.uint8, (3, 48, 48))
    # The corners of most drawings are paper, and no picture is only that, not even fog.
    assert np.mean(pixels[:, :, 0, 0] == 255) > 0.9
    assert pixels.reshape(len(pixels), -1).std(axis=1).min() > 2
    apart = pixels.max(axis=1).astype(int) - pixels.min(axis=1)
    assert np.mean(apart.max(axis=(1, 2)) > 64) > 0.9


def test_skin_tones_are_left_out(seen: dict[str, ImageSet]) -> None:
    assert not [label for label in seen["gallery"].labels if "skin-tone" in label]
    table = (FOLDER / "table.csv").read_text().splitlines()
    assert not [line for line in table if "1f3fb" in line or "1f3ff" in line]


def test_each_design_names_its_licence_and_the_notice_does_too(seen: dict[str, ImageSet]) -> None:
    notice = (FOLDER / "NOTICE").read_text()
    texts = {"CC-BY-4.0": "CC BY 4.0", "MIT": "MIT License", "Apache-2.0": "Apache License 2.0"}
    entries = notice.split("\n\n")

    for design, facts in DESIGNS.items():
        entry = next(entry for entry in entries if f"{design}.webp" in entry.splitlines()[0])
        assert texts[facts.licence] in entry
    assert {more["licence"] for more in seen["gallery"].metadata} == set(texts)


def test_a_wheel_takes_the_sheets_the_table_and_the_notice() -> None:
    root = Path(__file__).parents[3]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "models"
    ]
    taken = {path for pattern in patterns for path in (root / "models").glob(pattern)}

    assert {FOLDER / name for name in ("table.csv", "NOTICE", *(f"{name}.webp" for name in DESIGNS))} <= taken
