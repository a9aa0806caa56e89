"""What a training begins with: a new network, or a copy of one that is given, and what of it learns."""

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from models.errors import ModelError
from models.manifest import (
    Architecture,
    ConvolutionalArchitecture,
    DenoisedArchitecture,
    Normalization,
    Preprocessing,
    ResidualArchitecture,
    TransformersArchitecture,
)
from models.model import EmbeddingModel, build_network
from models.networks.denoised import denoised
from models.networks.embedding import EmbeddingNetwork
from models.training.recipe import Recipe


@dataclass(frozen=True)
class Start:
    """The network of a training, in training mode where it learns, and what its manifest will say of it."""

    network: EmbeddingNetwork
    architecture: Architecture
    normalization: Normalization
    preprocessing: Preprocessing | None = None


def new(recipe: Recipe, images: Tensor) -> Start:
    """A new network for images (N, C, H, W) in [0, 1], standardised as these are; by torch's generator."""
    architecture = _architecture(recipe)
    normalization = _normalization(recipe, images)
    channels, height, width = images.shape[1:]
    network = build_network(architecture, (channels, height, width), normalization)
    return Start(network.train(), architecture, normalization)


def given(recipe: Recipe, model: EmbeddingModel) -> Start:
    """A copy of the network of `model`, of which that learns which the `recipe` says; by torch's generator.

    A linear head that learns gets a ReLU behind it, so that embeddings come to lie in the orthant, where a
    radius is larger. Raises `ModelError` if the model has not what should learn.
    """
    name, manifest, architecture = model.manifest.name, model.manifest, model.manifest.architecture
    network = copy.deepcopy(model.network)
    learns: nn.Module = network
    if recipe.learns == "denoiser":
        if isinstance(architecture, DenoisedArchitecture):
            raise ModelError(f"{name} has a denoiser already: name the model that it was trained for")
        architecture = DenoisedArchitecture(kind="denoised", width=recipe.width, backbone=architecture)
        network = denoised(network, model.input_shape, recipe.width)
        learns = network.denoiser
    elif isinstance(architecture, TransformersArchitecture) and architecture.head == "linear":
        architecture = architecture.model_copy(update={"head": "rectified"})
        network = build_network(architecture, model.input_shape, manifest.normalization)
        network.load_state_dict(model.network.state_dict())
        learns = network
    if recipe.learns == "head":
        head = getattr(network, "head", None)
        if not isinstance(head, nn.Linear):
            raise ModelError(
                f"{name} has no head that could learn alone: import the encoder with a --dimension, or train"
                " all of it"
            )
        learns = head
    network.eval().requires_grad_(False)
    learns.train().requires_grad_(True)
    return Start(network, architecture, manifest.normalization, manifest.preprocessing)


def _architecture(recipe: Recipe) -> Architecture:
    if recipe.backbone == "convolutional":
        return ConvolutionalArchitecture(
            kind="convolutional", width=recipe.width, dimension=recipe.dimension, nonnegative=True
        )
    return ResidualArchitecture(kind="residual", width=recipe.width, dimension=recipe.dimension)


def _normalization(recipe: Recipe, images: Tensor) -> Normalization:
    if recipe.backbone == "convolutional":
        return Normalization(mean=round(float(images.mean()), 4), std=round(float(images.std()), 4))
    return Normalization(
        mean=tuple(round(value, 4) for value in images.mean((0, 2, 3)).tolist()),
        std=tuple(round(value, 4) for value in images.std((0, 2, 3)).tolist()),
    )
