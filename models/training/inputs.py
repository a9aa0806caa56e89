"""Images as a training keeps them: as they come where that is 8 bits, which is a quarter of the memory."""

import torch
from torch import Tensor

from models.datasets import ImageSet


def inputs(data: ImageSet, shape: tuple[int, int, int]) -> Tensor:
    """The images as inputs (N, *shape) of a network: as 8 bits if they have that shape, else as floats."""
    return torch.from_numpy(data.pixels if data.pixels.shape[1:] == shape else data.inputs(shape))


def pixels(images: Tensor) -> Tensor:
    """`images` (N, C, H, W), as `inputs` keeps them, as float32 in [0, 1]."""
    return images if images.is_floating_point() else images.float() / 255
