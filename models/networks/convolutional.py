"""Three convolutions and a head: the network for small grey images."""

from torch import Tensor, nn

from models.networks.embedding import OrthantEmbedding


class ConvolutionalEmbedding(OrthantEmbedding):
    """Three 3x3 convolutions, two of them with stride 2, and a linear head; for small images.

    The mean and standard deviation of pixels are part of h: noise is added to [0, 1] pixels before them.
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

    def scores(self, pixels: Tensor) -> Tensor:
        """What the head gives (B, d), before it is made an embedding. The head computes in float32."""
        standard = ((pixels - self.mean) / self.std).to(next(self.features.parameters()).dtype)
        scores: Tensor = self.head(self.features(standard).flatten(1).to(self.head.weight.dtype))
        return scores


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
