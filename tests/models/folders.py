"""Model folders to break: copies of the one that ships; and models without a folder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from models import PRETRAINED, EmbeddingModel, Manifest
from models.manifest import MANIFEST, DenoisedArchitecture, Normalization, ResidualArchitecture
from models.model import build_network
from models.networks.convolutional import ConvolutionalEmbedding

SHIPPED = PRETRAINED / "digits-cnn"
WEIGHTS = "weights.safetensors"


def copy(folder: Path) -> Path:
    """The shipped model, in `folder`."""
    shutil.copytree(SHIPPED, folder)
    return folder


def read(folder: Path = SHIPPED) -> dict[str, Any]:
    """The manifest in `folder`, as plain JSON."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return content


def write(folder: Path, manifest: Any) -> None:
    """Write `manifest` as plain JSON: nothing checks it."""
    (folder / MANIFEST).write_text(json.dumps(manifest))


def replace_weights(folder: Path, content: bytes) -> None:
    """Put `content` in place of the weights, with a manifest that agrees: only the bytes are wrong."""
    (folder / WEIGHTS).write_bytes(content)
    manifest = read(folder)
    manifest["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
    write(folder, manifest)


def model_of(network: ConvolutionalEmbedding) -> EmbeddingModel:
    """A model of the `untrained` network, with a manifest that fits."""
    manifest = Manifest.read(SHIPPED)
    architecture = {"width": 4, "dimension": network.head.out_features}
    changes = {
        "architecture": manifest.architecture.model_copy(update=architecture),
        "normalization": manifest.normalization.model_copy(update={"mean": network.mean, "std": network.std}),
    }
    return EmbeddingModel(manifest.model_copy(update=changes), network)


def denoised() -> EmbeddingModel:
    """The `residual` model behind a denoiser that changes something."""
    behind = residual()
    architecture = DenoisedArchitecture(kind="denoised", width=4, backbone=behind.manifest.architecture)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        network = build_network(architecture, behind.input_shape, behind.manifest.normalization)
        network.get_submodule("backbone").load_state_dict(behind.network.state_dict())
        torch.nn.init.normal_(network.get_parameter("denoiser.change.weight"), std=0.1)
    manifest = behind.manifest.model_copy(update={"architecture": architecture})
    return EmbeddingModel(manifest, network)


def residual() -> EmbeddingModel:
    """A residual model of random weights, and of batch statistics that are not those of a new network."""
    architecture = ResidualArchitecture(kind="residual", width=8, dimension=16)
    normalization = Normalization(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    manifest = Manifest.read(SHIPPED).model_copy(
        update={
            "architecture": architecture,
            "input_shape": (3, 16, 16),
            "normalization": normalization,
            "ranges": None,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = build_network(architecture, (3, 16, 16), normalization)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                torch.nn.init.normal_(module.running_mean, std=0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return EmbeddingModel(manifest, network)
