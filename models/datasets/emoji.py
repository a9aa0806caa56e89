"""Emoji, each drawn by several designers: "which emoji is this?", by a designer that training never saw.

The folder `emoji_sheets` beside this module holds the drawings, 48 pixels a side, a sheet a design, and a
table of where each label stands; its NOTICE names authors and licences, its `render.py` made it.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets.image_set import ImageSet, Part

FOLDER = Path(__file__).with_name("emoji_sheets")
SIDE = 48


@dataclass(frozen=True)
class Design:
    """A set of drawings by one hand: of which designer, and under which licence (SPDX)."""

    designer: str
    licence: str


DESIGNS = {
    "emojione": Design("Emoji One", "CC-BY-4.0"),
    "fluent-emoji": Design("Microsoft", "MIT"),
    "fluent-emoji-flat": Design("Microsoft", "MIT"),
    "fxemoji": Design("Mozilla", "Apache-2.0"),
    "noto": Design("Google", "Apache-2.0"),
    "noto-v1": Design("Google", "Apache-2.0"),
    "twemoji": Design("Twitter", "CC-BY-4.0"),
}
# Two designs of one designer look alike, so a designer asks or is asked for, as a whole.
ASKING = "Twitter"


def emoji(part: Part) -> ImageSet:
    """Emoji, 3 x 48 x 48, on white; the queries are drawn by a designer that is nowhere else.

    A label is one emoji character. The gallery has all labels, each drawn by three designs or more; training
    has those of its drawings whose label is not `held_out`; the queries are Twitter's drawings of the same
    labels as in training. An id is `emoji`, the design and the label; the metadata name designer and licence.
    """
    return _drawings(lambda design, label: _has(part, design, label, held_out_queries=False))


def emoji_unseen(part: Part) -> ImageSet:
    """As `emoji`, with queries of those labels that training never saw, by any designer."""
    return _drawings(lambda design, label: _has(part, design, label, held_out_queries=True))


def emoji_zero_shot(part: Part) -> ImageSet:
    """Trained as `emoji`; each drawing of a label that training never saw asks the others of such labels.

    So the queries are the gallery. It has one design of each designer: two would be twins.
    """
    if part == "train":
        return emoji("train")
    first = {design.designer: name for name, design in reversed(DESIGNS.items())}
    return _drawings(lambda name, label: name in first.values() and held_out(label))


def held_out(label: str) -> bool:
    """Whether `label` is kept out of training: about a quarter of them, by their digest."""
    return hashlib.sha256(label.encode()).digest()[0] < 64


def _has(part: Part, name: str, label: str, *, held_out_queries: bool) -> bool:
    if (DESIGNS[name].designer == ASKING) != (part == "query"):
        return False
    return part == "gallery" or held_out(label) == (part == "query" and held_out_queries)


def _drawings(wants: Callable[[str, str], bool]) -> ImageSet:
    """The drawings that one `wants`, by design and label."""
    with (FOLDER / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    pixels: list[NDArray[np.uint8]] = []
    drawn: list[tuple[str, str]] = []
    for name in DESIGNS:
        positions = {row["label"]: int(row[name]) for row in table if row[name]}
        wanted = [label for label in positions if wants(name, label)]
        if not wanted:
            continue
        pixels.append(_sheet(name, [positions[label] for label in wanted]))
        drawn += [(name, label) for label in wanted]
    return ImageSet(
        np.concatenate(pixels),
        tuple(label for _, label in drawn),
        tuple(f"emoji-{name}-{label}" for name, label in drawn),
        about="emoji",
        metadata=tuple(
            {"design": name, "designer": DESIGNS[name].designer, "licence": DESIGNS[name].licence}
            for name, _ in drawn
        ),
    )


def _sheet(name: str, positions: Iterable[int]) -> NDArray[np.uint8]:
    """The pictures (N, 3, 48, 48) at `positions` of a sheet, which is read row by row."""
    with Image.open(FOLDER / f"{name}.webp") as image:
        sheet = np.asarray(image.convert("RGB"))
    rows, columns = sheet.shape[0] // SIDE, sheet.shape[1] // SIDE
    pictures = sheet.reshape(rows, SIDE, columns, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(pictures.reshape(-1, 3, SIDE, SIDE)[list(positions)])
