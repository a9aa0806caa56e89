"""What a training minimises, and how."""

import math
from typing import Any

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, MarginLoss
from pytorch_metric_learning.miners import DistanceWeightedMiner
from torch import Tensor, nn

from models.training.recipe import Recipe

# The margin loss: where β starts, the border between near and far, and its own learning rate.
BETA, BETA_LEARNING_RATE = 1.2, 5e-4
# When the `steps` of a schedule come, in shares of the training, and the factor of each.
STEPS, STEP_FACTOR = (0.3, 0.55, 0.75), 0.3


class Loss(nn.Module):
    """The loss of `recipe` for embeddings (B, d) with targets (B,), a number below `labels` each."""

    def __init__(self, recipe: Recipe, labels: int) -> None:
        super().__init__()
        self._miner: DistanceWeightedMiner | None = None
        if recipe.loss == "arcface":
            self._loss = ArcFaceLoss(
                labels, recipe.dimension, margin=math.degrees(recipe.margin), scale=recipe.scale
            )
            self._rate = recipe.learning_rate
        else:
            self._miner = DistanceWeightedMiner()
            self._loss = MarginLoss(margin=recipe.margin, beta=BETA, learn_beta=True, num_classes=labels)
            self._rate = BETA_LEARNING_RATE

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        chosen = None if self._miner is None else self._miner(embeddings, targets)
        loss: Tensor = self._loss(embeddings, targets, chosen)
        return loss

    def optimizer(self, network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """AdamW over the network and what the loss learns itself."""
        own = list(self._loss.parameters())
        groups: list[dict[str, Any]] = [{"params": [*network.parameters(), *own]}]
        if self._rate != recipe.learning_rate:
            groups = [{"params": list(network.parameters())}, {"params": own, "lr": self._rate}]
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def schedule_of(
    recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rates of a training of so many `steps`."""
    if recipe.schedule == "one-cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps)
    milestones = [round(share * steps) for share in STEPS]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, STEP_FACTOR)
