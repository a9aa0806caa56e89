"""A denoiser in front of a network that never saw noise: both together are h, and what is certified.

The denoiser gives back pixels, as well as it can; the network behind it sees about what it was trained on.
(As in denoised smoothing, Salman et al. 2020, for classifiers.) The space is that of the class, and the class
is chosen by that of the network behind, whose scores they are.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.networks.embedding import EmbeddingNetwork, OrthantEmbedding, SphereEmbedding


class Denoiser(nn.Module):
    """Pixels (B, C, H, W) with noise to pixels: a small U-net (Ronneberger et al. 2015) of three scales.

    188,000 parameters at a `width` of 24. Untrained it changes nothing: what it adds to the pixels is 0.
    """

    def __init__(self, input_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        channels, height, columns = input_shape
        # As numbers: whoever traces the network finds constants.
        self._whole = (height, columns)
        self._half = ((height + 1) // 2, (columns + 1) // 2)
        self.fine = _block(channels, width)
        self.middle = nn.Sequential(_block(width, 2 * width, stride=2), _block(2 * width, 2 * width))
        self.coarse = nn.Sequential(
            _block(2 * width, 3 * width, stride=2),
            _block(3 * width, 3 * width),
            _block(3 * width, 3 * width),
        )
        self.to_middle = nn.Conv2d(3 * width, 2 * width, 1)
        self.middle_again = _block(2 * width, 2 * width)
        self.to_fine = nn.Conv2d(2 * width, width, 1)
        self.fine_again = _block(width, width)
        self.change = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Of `pixels` in the scale of [0, 1], noise included."""
        fine = self.fine(pixels - 0.5)
        middle = self.middle(fine)
        up = functional.interpolate(self.to_middle(self.coarse(middle)), self._half, mode="nearest")
        up = functional.interpolate(self.to_fine(self.middle_again(middle + up)), self._whole, mode="nearest")
        change: Tensor = self.change(self.fine_again(fine + up))
        return pixels + change


class _Denoised(EmbeddingNetwork):
    """`denoiser`, then `backbone`."""

    denoiser: Denoiser
    backbone: EmbeddingNetwork

    def __init__(self, denoiser: Denoiser, backbone: EmbeddingNetwork) -> None:
        super().__init__()
        self.denoiser, self.backbone = denoiser, backbone

    def scores(self, pixels: Tensor) -> Tensor:
        """Those that the backbone gives for denoised pixels."""
        return self.backbone.scores(self.denoiser(pixels))


class DenoisedSphereEmbedding(_Denoised, SphereEmbedding):
    """In front of a network that maps into the sphere."""


class DenoisedOrthantEmbedding(_Denoised, OrthantEmbedding):
    """In front of a network that maps into the orthant."""


def denoised(
    backbone: EmbeddingNetwork, input_shape: tuple[int, int, int], width: int
) -> DenoisedOrthantEmbedding | DenoisedSphereEmbedding:
    """The `backbone` behind an untrained denoiser of `width`: the same function, until that is trained."""
    kind = DenoisedOrthantEmbedding if isinstance(backbone, OrthantEmbedding) else DenoisedSphereEmbedding
    return kind(Denoiser(input_shape, width), backbone)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
