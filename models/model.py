"""An embedding model: a network and its manifest, loaded from a folder and saved to one."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from models.errors import ModelError
from models.manifest import (
    MANIFEST,
    Architecture,
    ConvolutionalArchitecture,
    DenoisedArchitecture,
    Manifest,
    Normalization,
    ResidualArchitecture,
)
from models.networks.convolutional import ConvolutionalEmbedding
from models.networks.denoised import denoised
from models.networks.embedding import EmbeddingNetwork
from models.networks.residual import ResidualEmbedding
from models.networks.transformers import encoder_embedding

# Models that ship with the project, by name.
PRETRAINED = Path(__file__).parent / "pretrained"


def model_folder(model: str | Path) -> Path:
    """The folder of a model that ships with the project, by name, or else the path `model` itself."""
    return PRETRAINED / model if (PRETRAINED / model / MANIFEST).is_file() else Path(model)


def build_network(
    architecture: Architecture, input_shape: tuple[int, int, int], normalization: Normalization
) -> EmbeddingNetwork:
    """The network that a manifest describes, with untrained weights; `ModelError` if there is none."""
    if isinstance(architecture, DenoisedArchitecture):
        backbone = build_network(architecture.backbone, input_shape, normalization)
        return denoised(backbone, input_shape, architecture.width)
    mean, std = normalization.of_channels(input_shape[0])
    try:
        if isinstance(architecture, ConvolutionalArchitecture):
            return ConvolutionalEmbedding(
                input_shape, mean[0], std[0], architecture.width, architecture.dimension
            )
        if isinstance(architecture, ResidualArchitecture):
            return ResidualEmbedding(input_shape, mean, std, architecture.width, architecture.dimension)
        return encoder_embedding(
            input_shape,
            mean,
            std,
            architecture.config,
            architecture.pooling,
            architecture.dimension,
            architecture.head,
        )
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise ModelError(f"a network of this architecture cannot be made here: {first}") from error


class EmbeddingModel:
    """h: images (n, C, H, W) float32 to embeddings (n, d) float32, in evaluation mode.

    `ranges`: the smallest and the largest value of each tensor that an int8 pass rounds, if measured.
    """

    def __init__(
        self,
        manifest: Manifest,
        network: EmbeddingNetwork,
        ranges: tuple[tuple[float, float], ...] | None = None,
    ) -> None:
        self.manifest = manifest
        self.ranges = ranges
        self.network = network.eval().requires_grad_(False)

    @property
    def dimension(self) -> int:
        """d, the length of an embedding."""
        return self.manifest.architecture.dimension

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.manifest.input_shape

    @property
    def nonnegative(self) -> bool:
        """Whether no coordinate of an embedding can be below 0: a fact of the last layers of the network."""
        return self.network.nonnegative

    @classmethod
    def load(cls, model: str | Path) -> "EmbeddingModel":
        """Load a model that ships with the project, by name, or a model folder, by path.

        Raises `ModelError` when the folder, a field of the manifest or the weights are missing, when the
        weights are not the bytes that the manifest names, not finite, or not safetensors: pickles are never
        read.
        """
        folder = model_folder(model)
        manifest = Manifest.read(folder)
        path = folder / manifest.weights.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"the weights {path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != manifest.weights.sha256:
            raise ModelError(
                f"{path} has sha256 {found}, but its manifest names {manifest.weights.sha256}: the file was"
                " changed or damaged; restore it, or train again"
            )
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
            network = build_network(manifest.architecture, manifest.input_shape, manifest.normalization)
        try:
            network.load_state_dict(load_safetensors(content))
        except SafetensorError as error:
            raise ModelError(
                f"{path} is not a safetensors file ({error}); pickled weights are not read, as a pickle can"
                " run any code: convert them"
            ) from error
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise ModelError(f"{path} does not fit the architecture of its manifest: {why}") from error
        if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
            raise ModelError(f"{path} holds weights that are not finite: the training failed, train again")
        return cls(manifest, network)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, d) of `images` (n, C, H, W), one forward pass."""
        embeddings: NDArray[np.float32] = self.network(torch.from_numpy(images)).numpy()
        return embeddings


def save_weights(network: EmbeddingNetwork, path: Path) -> str:
    """Write the weights to `path` as safetensors; returns the sha256 of the file."""
    content = save_safetensors({name: value.contiguous() for name, value in network.state_dict().items()})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
