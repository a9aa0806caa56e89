"""Variants of a picture, as other designers might have drawn it: other shapes, colours, shading and strokes.

What tells labels apart stays: nothing is mirrored, as arrows are not, and nothing is turned far. A few
pictures of each label are enough to learn by heart; of their variants there is no end.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.training.inputs import pixels

# Largest changes at strength 1: of size and proportions (logarithms), angles (radians), places (half sides).
SIZE, PROPORTIONS, ANGLE, SHEAR, SHIFT, ELASTIC = 0.2, 0.1, 0.15, 0.1, 0.12, 0.05
# Of hue (radians), saturation, ink of all and of each channel, contrast (logarithms), and shading.
HUE, SATURATION, INK, CHANNEL, GAMMA, SHADING = 0.4, 0.6, 0.25, 0.15, 0.35, 0.25
# Of strokes, thinner or thicker, and of sharpness.
STROKE, SHARPNESS = 0.4, 0.7
# How many are crossed with another picture of their label, and how many lose a rectangle.
CROSSED, CUT = 0.3, 0.3


class Redrawing:
    """Variants, of `size` (height, width), of `pictures` (N, C, S, S) with `targets` (N,).

    Pictures are as `models.training.inputs` keeps them. Whole batches on their device, by torch's generator
    there. Works on ink, the distance from white, so that paper stays white.
    """

    def __init__(self, pictures: Tensor, targets: Tensor, size: tuple[int, int], strength: float) -> None:
        self._pictures, self._targets, self._size, self._strength = pictures, targets, size, strength
        self._by_label = torch.argsort(targets, stable=True)
        self._count = torch.bincount(targets)
        self._first = torch.cumsum(self._count, 0) - self._count

    def __call__(self, rows: Tensor) -> Tensor:
        """A new variant (B, C, H, W) in [0, 1] of each of the pictures at `rows` (B,)."""
        ink = self._crossed(1 - pixels(self._pictures[rows]), rows)
        ink = functional.interpolate(self._moved(ink), self._size, mode="bilinear", antialias=True)
        ink = self._colours(self._strokes(ink))
        return 1 - (ink * self._uncut(ink)).clamp(0, 1)

    def _spread(self, like: Tensor, width: float) -> Tensor:
        """Numbers (B, 1, 1, 1) between -width and width, times the strength."""
        return (torch.rand(len(like), 1, 1, 1, device=like.device) * 2 - 1) * (width * self._strength)

    def _chance(self, like: Tensor, share: float) -> Tensor:
        """(B, 1, 1, 1), whether a picture is among the `share` that is changed."""
        return torch.rand(len(like), 1, 1, 1, device=like.device) < share * self._strength

    def _field(self, like: Tensor, channels: int, side: int) -> Tensor:
        """A smooth random field (B, channels, h, w) as large as `like`, of side x side normal numbers."""
        coarse = torch.randn(len(like), channels, side, side, device=like.device)
        return functional.interpolate(coarse, like.shape[2:], mode="bilinear", align_corners=True)

    def _crossed(self, ink: Tensor, rows: Tensor) -> Tensor:
        """Some pictures are parts of two of the same label: a designer between the two."""
        label = self._targets[rows]
        offset = (torch.rand(len(rows), device=rows.device) * self._count[label]).long()
        other = 1 - pixels(self._pictures[self._by_label[self._first[label] + offset]])
        share = torch.sigmoid(4 * self._field(ink, 1, 3)) * self._chance(ink, CROSSED)
        return ink + share * (other - ink)

    def _moved(self, ink: Tensor) -> Tensor:
        """Turned, scaled, sheared, shifted, and bent a little."""
        size, turn, shear = (self._spread(ink, width)[:, 0, 0, 0] for width in (SIZE, ANGLE, SHEAR))
        stretch = self._spread(ink, PROPORTIONS)[:, 0, 0, 0]
        wide, high = torch.exp(size + stretch), torch.exp(size - stretch)
        rows = [
            torch.stack([wide * torch.cos(turn), -high * torch.sin(turn) + shear], 1),
            torch.stack([wide * torch.sin(turn), high * torch.cos(turn)], 1),
        ]
        shift = (torch.rand(len(ink), 2, 1, device=ink.device) * 2 - 1) * (SHIFT * self._strength)
        theta = torch.cat([torch.stack(rows, 1), shift], 2)
        grid = functional.affine_grid(theta, list(ink.shape), align_corners=False)
        bent = self._field(ink, 2, 5).permute(0, 2, 3, 1) * (ELASTIC * self._strength)
        return functional.grid_sample(ink, grid + bent, padding_mode="border", align_corners=False)

    def _strokes(self, ink: Tensor) -> Tensor:
        """Thinner or thicker, softer or sharper."""
        change = self._spread(ink, STROKE)
        thick = functional.max_pool2d(ink, 3, 1, 1) - ink
        thin = ink + functional.max_pool2d(-ink, 3, 1, 1)
        ink = ink + change.clamp(min=0) * thick + change.clamp(max=0) * thin
        smooth = functional.avg_pool2d(ink, 3, 1, 1, count_include_pad=False)
        return ink + self._spread(ink, SHARPNESS) * (ink - smooth)

    def _colours(self, ink: Tensor) -> Tensor:
        """Another hue, saturation, density and contrast, and shading; grey pictures have no hue."""
        if ink.shape[1] == 3:
            ink = self._hue(ink)
            ink = ink * torch.exp(
                (torch.rand(len(ink), 3, 1, 1, device=ink.device) * 2 - 1) * (CHANNEL * self._strength)
            )
        ink = (
            ink
            * torch.exp(self._spread(ink, INK))
            * (1 + self._field(ink, 1, 3) * (SHADING * self._strength))
        )
        return ink.clamp(1e-4, 1) ** torch.exp(self._spread(ink, GAMMA))

    def _hue(self, ink: Tensor) -> Tensor:
        """A rotation of colours around grey, and a distance from it."""
        angle = self._spread(ink, HUE)
        grey = ink.mean(1, keepdim=True)
        colour = ink - grey
        turned = (colour.roll(1, 1) - colour.roll(2, 1)) / 3**0.5
        return grey + torch.exp(self._spread(ink, SATURATION)) * (
            torch.cos(angle) * colour + torch.sin(angle) * turned
        )

    def _uncut(self, ink: Tensor) -> Tensor:
        """0 in the rectangle that a picture loses, if it loses one, 1 elsewhere."""
        inside = self._chance(ink, CUT)
        for axis in (2, 3):
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            places = torch.linspace(-1, 1, ink.shape[axis], device=ink.device).reshape(shape)
            centre = torch.rand(len(ink), 1, 1, 1, device=ink.device) * 2 - 1
            half = 0.1 + 0.25 * torch.rand(len(ink), 1, 1, 1, device=ink.device)
            inside = inside & ((places - centre).abs() < half)
        return (~inside).to(ink.dtype)
