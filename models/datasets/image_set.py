"""Labelled images, and the parts into which a data set is split once and for all."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "gallery", "query"]


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) of 8-bit pixels, their labels, and stable ids; `about` them in a word or two."""

    pixels: NDArray[np.uint8]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    about: str = "images"

    @property
    def tensors(self) -> NDArray[np.float32]:
        """The images as model inputs: float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)

    def __len__(self) -> int:
        return len(self.ids)
