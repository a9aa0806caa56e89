"""Handwritten digits: the test part of the UCI data set "Optical Recognition of Handwritten Digits".

The file beside this module holds the 1,797 images as scikit-learn's `load_digits` gives them, 0 to 16:
nothing is downloaded, and serving needs no scikit-learn. (E. Alpaydin, C. Kaynak, 1998; CC BY 4.0.)
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.image_set import ImageSet, Part

FILE = Path(__file__).with_name("digits.npz")


def digits(part: Part) -> ImageSet:
    """Handwritten digits, 1 x 8 x 8, ink bright on dark, on the 8-bit grid.

    Within each label, in the order of the data set, the images are dealt in rounds of six: the 1st, 3rd
    and 5th train, the 2nd and 4th are the demo gallery, the 6th is a query. So one half trains, two thirds
    of the other half are the gallery, and one third is never added to a gallery. An id is the position in
    the data set.
    """
    images, targets = _all()
    turn = np.empty(len(targets), dtype=np.int64)
    for label in range(10):
        members = np.flatnonzero(targets == label)
        turn[members] = np.arange(len(members)) % 6
    rows = np.flatnonzero(np.isin(turn, {"train": (0, 2, 4), "gallery": (1, 3), "query": (5,)}[part]))
    return _set(images, targets, rows)


def digits_zero_shot(part: Part) -> ImageSet:
    """The same images by the protocol of metric learning: 0 to 4 train, each 5 to 9 asks the others.

    So the queries are the gallery, whose labels training never saw.
    """
    images, targets = _all()
    return _set(images, targets, np.flatnonzero((targets < 5) == (part == "train")))


def _all() -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    with np.load(FILE, allow_pickle=False) as file:
        return file["images"], file["targets"]


def _set(images: NDArray[np.floating], targets: NDArray[np.integer], rows: NDArray[np.int64]) -> ImageSet:
    pixels = np.rint(images[rows] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ImageSet(
        pixels,
        tuple(str(t) for t in targets[rows]),
        tuple(f"digits-{r:04d}" for r in rows),
        about="handwritten digits",
    )
