"""What a step of a training makes smaller, given a batch of images."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.embedding import EmbeddingNetwork
from models.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Images (B, C, H, W) in [0, 1], without noise and with it, and the numbers (B,) of their labels."""

    pixels: Tensor
    noisy: Tensor
    targets: Tensor


class Objective(nn.Module, ABC):
    """What is minimised; weights of its own, if it has any, learn too."""

    @abstractmethod
    def of(self, network: EmbeddingNetwork, batch: Batch, share: float) -> Tensor:
        """The mean loss, a scalar, when `share` of the training is done."""

    @abstractmethod
    def optimizer(self, network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """For what of the network learns, and what the objective learns itself."""


def half_precision(pixels: Tensor) -> AbstractContextManager[object]:
    """Within it networks compute in bfloat16, if `pixels` are on a GPU."""
    device = pixels.device.type
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
