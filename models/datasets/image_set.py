"""Labelled images, and the parts into which a data set is split once and for all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Part = Literal["train", "gallery", "query"]
# The parts of red, green and blue in grey; of whole numbers up to 255 the sum is exact.
_LUMA = np.array([19595, 38470, 7471], np.float32) / np.float32(65536)


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) of 8-bit pixels, their labels, and stable ids; `about` them in a word or two.

    `metadata` says more of each image, as text by name; it is empty where there is no more to say.
    `original` is the (height, width) of what the images were made of, where that was larger or smaller.
    """

    pixels: NDArray[np.uint8]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    about: str = "images"
    metadata: tuple[dict[str, str], ...] = ()
    original: tuple[int, int] | None = None

    @property
    def tensors(self) -> NDArray[np.float32]:
        """The images as they are, float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)

    def inputs(self, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """The images as inputs (N, *shape) of a model, float32 in [0, 1]: as the service reads their files.

        That is grey for one channel, RGB for three, and another size by antialiased bilinear interpolation in
        float32, a linear map. Raises `ValueError` for another number of channels.
        """
        channels, height, width = shape
        if channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, the model takes {channels}")
        if self.pixels.shape[1:] == shape:
            return self.tensors
        inputs = np.empty((len(self), *shape), np.float32)
        for row, pixels in enumerate(self.pixels):
            planes = pixels.astype(np.float32)
            if channels == 1 < len(planes):
                planes = np.tensordot(_LUMA, planes, 1)[None]
            for channel, plane in enumerate(np.broadcast_to(planes, (channels, *planes.shape[1:]))):
                resized = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
                inputs[row, channel] = np.asarray(resized)
        return (inputs / np.float32(255)).clip(0, 1)

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> "ImageSet":
        """The images at `rows`, in that order."""
        return replace(
            self,
            pixels=self.pixels[np.asarray(rows)],
            labels=tuple(self.labels[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            metadata=tuple(self.metadata[row] for row in rows) if self.metadata else (),
        )

    def __len__(self) -> int:
        return len(self.ids)
