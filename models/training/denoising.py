"""A denoiser learns to give pixels back, and at the end the embeddings of the network behind it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.denoised import DenoisedOrthantEmbedding, DenoisedSphereEmbedding
from models.networks.embedding import EmbeddingNetwork
from models.training.objective import Batch, Objective, half_precision
from models.training.recipe import Recipe


class Denoising(Objective):
    """The squared error of denoised pixels over that of noisy ones, and how far embeddings are moved.

    That is 1 - cosine between the embeddings of denoised pixels and of those that never had noise. It is
    minded for the last share `stability` alone, since a large network costs many times the denoiser.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._variance = (recipe.noise * recipe.sigma) ** 2
        self._from = 1 - recipe.stability

    def of(self, network: EmbeddingNetwork, batch: Batch, share: float) -> Tensor:
        """The mean loss, a scalar, when `share` of the training is done."""
        assert isinstance(network, DenoisedOrthantEmbedding | DenoisedSphereEmbedding)  # noqa: S101
        with half_precision(batch.noisy):
            clean = network.denoiser(batch.noisy)
        loss = functional.mse_loss(clean.float(), batch.pixels) / self._variance
        if share >= self._from:
            with half_precision(batch.noisy):
                found = network.backbone(clean)
                with torch.no_grad():
                    meant = network.backbone(batch.pixels)
            loss = loss + (1 - functional.cosine_similarity(found.float(), meant.float())).mean()
        return loss

    def optimizer(self, network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """AdamW over what of the network learns."""
        learning = [value for value in network.parameters() if value.requires_grad]
        return torch.optim.AdamW(learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
