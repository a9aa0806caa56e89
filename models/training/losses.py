"""What a training minimises, and how."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

from models.networks.embedding import EmbeddingNetwork
from models.training.objective import Batch, Objective, half_precision
from models.training.recipe import LossName, Recipe

# The margin loss: where β starts, the border between near and far, and its own learning rate.
BETA, BETA_LEARNING_RATE = 1.2, 5e-4
# When the `steps` of a schedule come, in shares of the training, and the factor of each.
STEPS, STEP_FACTOR = (0.3, 0.55, 0.75), 0.3

# A loss, and what chooses its pairs. Several copies of an image stand in every batch, so that no loss is
# without a pair of equal label: a sampler of batches is not needed.
_Made = tuple[nn.Module, nn.Module | None]


def _arcface(recipe: Recipe, labels: int) -> _Made:
    margin = math.degrees(recipe.margin)
    return losses.ArcFaceLoss(labels, recipe.dimension, margin=margin, scale=recipe.scale), None


def _margin(recipe: Recipe, labels: int) -> _Made:
    loss = losses.MarginLoss(margin=recipe.margin, beta=BETA, learn_beta=True, num_classes=labels)
    return loss, miners.DistanceWeightedMiner()


# With the constants of their papers, which the library has.
_LOSSES: dict[LossName, Callable[[Recipe, int], _Made]] = {
    "arcface": _arcface,
    "margin": _margin,
    "multi-similarity": lambda recipe, labels: (losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()),
    "proxy-anchor": lambda recipe, labels: (losses.ProxyAnchorLoss(labels, recipe.dimension), None),
    "supervised-contrastive": lambda recipe, labels: (losses.SupConLoss(), None),
    "triplet": lambda recipe, labels: (losses.TripletMarginLoss(), miners.DistanceWeightedMiner()),
}


class Loss(Objective):
    """The loss of `recipe` for embeddings (B, d) with targets (B,), a number below `labels` each."""

    def __init__(self, recipe: Recipe, labels: int) -> None:
        super().__init__()
        self._loss, self._miner = _LOSSES[recipe.loss](recipe, labels)
        self._rate = BETA_LEARNING_RATE if recipe.loss == "margin" else recipe.learning_rate

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        chosen = None if self._miner is None else self._miner(embeddings, targets)
        loss: Tensor = self._loss(embeddings, targets, chosen)
        return loss

    def of(self, network: EmbeddingNetwork, batch: Batch, share: float) -> Tensor:
        """The mean loss of the noisy images, a scalar."""
        with half_precision(batch.noisy):
            embeddings = network(batch.noisy)
        loss: Tensor = self(embeddings.float(), batch.targets)
        return loss

    def optimizer(self, network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """AdamW over what of the network learns, and what the loss learns itself."""
        learning = [value for value in network.parameters() if value.requires_grad]
        own = list(self._loss.parameters())
        groups: list[dict[str, Any]] = [{"params": [*learning, *own]}]
        if self._rate != recipe.learning_rate:
            groups = [{"params": learning}, {"params": own, "lr": self._rate}]
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
