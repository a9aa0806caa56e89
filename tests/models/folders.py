"""Model folders to break: copies of the one that ships; and models without a folder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from models import PRETRAINED, EmbeddingModel, Manifest
from models.manifest import MANIFEST
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
