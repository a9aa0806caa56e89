"""What most networks begin with: pixels in the scale that they learnt in."""

import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """(pixels - mean) / std, a number of each for each channel. It is part of h: noise is added before it.

    Not among the weights: the manifest holds them. Raises `ValueError` unless there is one `mean` and one
    `std` for each of `channels`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        if not len(mean) == len(std) == channels:
            raise ValueError(
                f"{channels} channels need as many means and deviations, got {len(mean)} and {len(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Of `pixels` (B, C, H, W), noise included."""
        return (pixels - self.mean) / self.std
