"""Data sets that need no download, with splits that are fixed once and for all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Part = Literal["train", "gallery", "query"]


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) of 8-bit pixels, their labels, and stable ids."""

    pixels: NDArray[np.uint8]
    labels: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def tensors(self) -> NDArray[np.float32]:
        """The images as model inputs: float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)

    def __len__(self) -> int:
        return len(self.ids)


def digits(part: Part) -> ImageSet:
    """Scikit-learn's handwritten digits, 1 x 8 x 8, ink bright on dark, on the 8-bit grid.

    Within each label, in the order of the data set, the images are dealt in rounds of six: the 1st, 3rd
    and 5th train, the 2nd and 4th are the demo gallery, the 6th is a query. So one half trains, two thirds
    of the other half are the gallery, and one third is never added to a gallery. An id is the position in
    the data set.
    """
    images, targets = load_digits(return_X_y=True)
    turn = np.empty(len(targets), dtype=np.int64)
    for label in range(10):
        members = np.flatnonzero(targets == label)
        turn[members] = np.arange(len(members)) % 6
    rows = np.flatnonzero(np.isin(turn, {"train": (0, 2, 4), "gallery": (1, 3), "query": (5,)}[part]))
    pixels = np.rint(images[rows] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ImageSet(pixels, tuple(str(t) for t in targets[rows]), tuple(f"digits-{r:04d}" for r in rows))


DATASETS: dict[str, Callable[[Part], ImageSet]] = {"digits": digits}
