"""The embedding network h: pixels with noise in, a non-negative vector of norm one out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

# Keeps the norm of an embedding away from 0 when the ReLU silences every coordinate.
FLOOR = 1e-4


class ConvolutionalEmbedding(nn.Module):
    """Three 3x3 convolutions, two of them with stride 2, and a linear head; for small images.

    The mean and standard deviation of pixels are part of h: noise is added to [0, 1] pixels before them.
    The head ends in a ReLU, so every embedding lies in the non-negative orthant by construction: the worst
    unseen outcome, which a certificate has to assume, is less bad there than on the whole sphere.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], mean: float, std: float, width: int, dimension: int
    ) -> None:
        super().__init__()
        channels, height, rows = input_shape
        self.mean, self.std = mean, std
        flat = 4 * width * ((height + 3) // 4) * ((rows + 3) // 4)
        self.features = nn.Sequential(
            _block(channels, width, 1), _block(width, 2 * width, 2), _block(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(flat, dimension)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (B, d) of `pixels` (B, C, H, W) in the scale of [0, 1], noise included."""
        return functional.normalize(torch.relu(self.scores(pixels)) + FLOOR, dim=1)

    def scores(self, pixels: Tensor) -> Tensor:
        """What the head gives (B, d), before it is made an embedding. The head computes in float32."""
        standard = ((pixels - self.mean) / self.std).to(next(self.features.parameters()).dtype)
        scores: Tensor = self.head(self.features(standard).flatten(1).to(self.head.weight.dtype))
        return scores


def normalized(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings (B, d) from the head's `scores` (B, d), in float32: the last line of `forward`, in numpy."""
    floored = np.maximum(scores, np.float32(0))
    floored += np.float32(FLOOR)
    floored /= np.sqrt(np.einsum("bd,bd->b", floored, floored))[:, None]
    return floored


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
