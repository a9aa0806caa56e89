"""A small residual network h, for colour pictures of 32 to 64 pixels a side."""

import torch
from torch import Tensor, nn

from models.networks.embedding import OrthantEmbedding
from models.networks.standardised import Standardised


class ResidualEmbedding(OrthantEmbedding):
    """Three times half the sides and a residual block (He et al. 2016), then a linear head.

    As in `models.networks.convolutional`, pixels are standardised inside h, here with a `mean` and `std` for
    each channel. The head sees every place of the last stage, not their average: where a part of a small
    picture stands tells much.

    Raises `ValueError` unless there is one `mean` and one `std` for each channel.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        width: int,
        dimension: int,
    ) -> None:
        super().__init__()
        channels, height, columns = input_shape
        self.standard = Standardised(channels, mean, std)
        self.features = nn.Sequential(
            _block(channels, width, stride=2),
            _Residual(width),
            _block(width, 2 * width, stride=2),
            _Residual(2 * width),
            _block(2 * width, 4 * width, stride=2),
            _Residual(4 * width),
        )
        self.head = nn.Linear(4 * width * ((height + 7) // 8) * ((columns + 7) // 8), dimension)

    def scores(self, pixels: Tensor) -> Tensor:
        """What the head gives (B, d), before it is made an embedding. The head computes in float32."""
        standard = self.standard(pixels).to(next(self.features.parameters()).dtype)
        scores: Tensor = self.head(self.features(standard).flatten(1).to(self.head.weight.dtype))
        return scores


class _Residual(nn.Module):
    """A step from x to relu(x + f(x)), f being two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _block(width, width, stride=1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(values + self.second(self.first(values)))


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
