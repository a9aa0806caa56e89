"""What every network ends in, and the space that it therefore maps into, whatever stands before.

A certificate assumes the worst that the network could do in a set, so the set has to be a fact of the last
lines of h. They are written here once, and no network overrides them: which of the two classes it extends is
the proof. Both keep the norm at 1, or below, for any scores that are numbers.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

# Keeps the norm that scores are divided by away from 0, and its square far above where float32 underflows.
FLOOR = 1e-4


class EmbeddingNetwork(nn.Module, ABC):
    """h: pixels with noise to embeddings. Extend `OrthantEmbedding` or `SphereEmbedding`, not this."""

    # Whether no coordinate of an embedding is ever below 0.
    nonnegative: ClassVar[bool]

    @abstractmethod
    def scores(self, pixels: Tensor) -> Tensor:
        """What is made an embedding of (B, d), for `pixels` (B, C, H, W) in [0, 1], noise included."""

    @final  # type: ignore[misc]  # torch calls it an attribute
    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (B, d) of `pixels` (B, C, H, W) in the scale of [0, 1], noise included."""
        return self.normalised(self.scores(pixels))

    @staticmethod
    @abstractmethod
    def normalised(scores: Tensor) -> Tensor:
        """Embeddings (B, d) from `scores` (B, d): the end of `forward`."""

    @staticmethod
    @abstractmethod
    def finished(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (B, d) from `scores` (B, d), in float32: the end of `forward`, in numpy."""


class OrthantEmbedding(EmbeddingNetwork):
    """Ends in a ReLU and a normalisation: norm 1, and no negative coordinate.

    The worst unseen outcome is less bad there than on the whole sphere. Where the ReLU silences everything,
    all coordinates are alike.
    """

    nonnegative = True

    @staticmethod
    @final
    def normalised(scores: Tensor) -> Tensor:
        """Embeddings (B, d) from `scores` (B, d): the end of `forward`."""
        return functional.normalize(torch.relu(scores) + FLOOR, dim=1)

    @staticmethod
    @final
    def finished(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (B, d) from `scores` (B, d), in float32: the end of `forward`, in numpy."""
        floored = np.maximum(scores, np.float32(0))
        floored += np.float32(FLOOR)
        floored /= np.sqrt(np.einsum("bd,bd->b", floored, floored))[:, None]
        return floored


class SphereEmbedding(EmbeddingNetwork):
    """Ends in a normalisation: any signs, and norm 1, or below where all scores are nearly 0."""

    nonnegative = False

    @staticmethod
    @final
    def normalised(scores: Tensor) -> Tensor:
        """Embeddings (B, d) from `scores` (B, d): the end of `forward`."""
        return functional.normalize(scores, dim=1, eps=FLOOR)

    @staticmethod
    @final
    def finished(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (B, d) from `scores` (B, d), in float32: the end of `forward`, in numpy."""
        norms = np.sqrt(np.einsum("bd,bd->b", scores, scores))
        embeddings: NDArray[np.float32] = scores / np.maximum(norms, np.float32(FLOOR))[:, None]
        return embeddings
