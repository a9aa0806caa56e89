"""From a folder that `transformers` can load to a model folder of ours: a vision encoder, as an embedding.

What decides the embedding is copied: the configuration into the manifest, the weights, in float32, beside it.
So the folder stands alone, and what is loaded later is what was imported, byte by byte.
"""

import copy
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import nn

from models.encoder_config import plain
from models.encoder_folder import CONFIG, PREPROCESSOR, check_folder, read_json
from models.encoder_weights import actual_pooling, load_encoder
from models.errors import ModelError
from models.manifest import (
    MANIFEST,
    Dimension,
    Domain,
    Manifest,
    Name,
    TransformersArchitecture,
    Weights,
    told,
)
from models.model import EmbeddingModel, build_network, save_weights
from models.networks.embedding import EmbeddingNetwork
from models.networks.transformers import (
    Pooling,
    encoder_width,
    pooled,
)
from models.preprocessors import Prepared, prepared

# The weights that are written.
OURS = "weights.safetensors"
# What of a configuration has no part in the network.
_NO_PART = {"id2label", "label2id", "architectures", "_name_or_path", "transformers_version", "dtype"}
_SEED = 0


class _Options(BaseModel):
    name: Name
    dimension: Dimension | None


def import_encoder(
    folder: Path, output: Path, *, sigma: float, name: str | None = None, dimension: int | None = None
) -> EmbeddingModel:
    """Write a model folder `output` for the encoder in `folder`, and load it from there.

    `sigma` is the noise that it is meant for; `name` defaults to that of the folder. With a `dimension`, a
    fixed random projection to so many numbers is put behind it, which keeps distances about. Raises
    `ModelError`, which names the file and what to do, for anything that is no vision encoder in safetensors.
    """
    name = name if name is not None else re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name)[:64]
    try:  # before anything is loaded, which takes a while
        _Options(name=name, dimension=dimension)
    except ValidationError as error:
        raise ModelError(told(error)) from error
    config, processor = read_json(folder / CONFIG), read_json(folder / PREPROCESSOR)
    files = check_folder(folder, config)
    try:
        made = prepared(processor)
    except ValidationError as error:
        raise ModelError(f"{folder / PREPROCESSOR}: {told(error)}") from error
    except (ModelError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / PREPROCESSOR}: {error}") from error
    try:
        encoder, pooling = load_encoder(folder)
        described = encoder.config.to_dict()  # type: ignore[union-attr, operator]
        shape = (described.get("num_channels", 3), *made.size)
        pooling = actual_pooling(encoder, pooling, shape)
        width = encoder_width(encoder, pooling, shape)
        decisive = _plain(described)
    except (ModelError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    labels = _labels(config)
    network, manifest = _embedding(
        {
            "kind": "transformers",
            "dimension": dimension or width,
            "config": decisive,
            "pooling": pooling,
            "head": "identity" if dimension is None else "linear",
        },
        shape,
        made,
        encoder,
        place=folder / PREPROCESSOR,
        name=name,
        sigma=sigma,
        training={"files": files} | ({"labels": labels} if labels else {}),
    )
    if not _alike(encoder, network.get_submodule("encoder"), pooling, shape):
        raise ModelError(
            f"{folder}: the encoder gives something else each time, or from its configuration alone"
        )
    return _written(EmbeddingModel(manifest, network), output)


@torch.inference_mode()
def _alike(one: nn.Module, other: nn.Module, pooling: Pooling, shape: tuple[int, int, int]) -> bool:
    """Whether both give the same for an image of `shape` (C, H, W), bit for bit."""
    probe = torch.from_numpy(_probe(shape))
    # As they lie in the file, weights may be at odd addresses, for which there are other kernels.
    aligned = copy.deepcopy(one)
    return torch.equal(pooled(aligned, pooling, probe), pooled(other, pooling, probe))


def _probe(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(_SEED).random((1, *shape), np.float32)


def _written(model: EmbeddingModel, output: Path) -> EmbeddingModel:
    """What is loaded from the folder `output` after it was written: the same function, or nothing is left.

    Not every network gives the same twice, and what a configuration does not say is lost when it is saved.
    """
    there = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        weights = Weights(file=OURS, sha256=save_weights(model.network, output / OURS))
        manifest = model.manifest.model_copy(update={"weights": weights})
        (output / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_none=True) + "\n")
        loaded = EmbeddingModel.load(output)
        probe = _probe(model.input_shape)
        expected = model(probe)
        if not np.isfinite(expected).all():
            raise ModelError(f"{output}: the encoder gives no numbers for a picture: it cannot be used")
        for again in (model, loaded, loaded):
            if not np.array_equal(again(probe), expected):
                raise ModelError(f"{output}: the encoder embeds otherwise once it is saved")
    except BaseException:
        if there:
            for file in (OURS, MANIFEST):
                (output / file).unlink(missing_ok=True)
        else:
            shutil.rmtree(output, ignore_errors=True)
        raise
    return loaded


def _embedding(
    architecture: dict[str, Any],
    shape: tuple[int, int, int],
    made: Prepared,
    encoder: nn.Module,
    *,
    place: Path,
    name: str,
    sigma: float,
    training: dict[str, Any],
) -> tuple[EmbeddingNetwork, Manifest]:
    """The network around the `encoder`, and its manifest, but for the digest of weights not written yet."""
    try:
        manifest = Manifest(
            format=1,
            name=name,
            architecture=TransformersArchitecture.model_validate(architecture),
            input_shape=shape,
            normalization=made.normalization,
            sigma=sigma,
            training=training,
            weights=Weights(file=OURS, sha256="0" * 64),
            domain=Domain(images="images", colour="grey" if shape[0] == 1 else "RGB", size=made.size),
            preprocessing=made.preprocessing,
        )
    except ValidationError as error:
        raise ModelError(f"{place}: {told(error)}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = build_network(manifest.architecture, shape, made.normalization)
        for part, module in network.named_children():
            if part == "encoder":
                module.load_state_dict(encoder.state_dict())
            elif isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)
    return network, manifest


def _plain(described: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides the network, as JSON has it."""
    return plain({key: value for key, value in described.items() if key not in _NO_PART})


def _labels(config: Mapping[str, Any]) -> list[str]:
    """What the model was trained to tell apart, if its configuration names it."""
    named = config.get("id2label")
    labels = [str(label) for label in named.values()] if isinstance(named, Mapping) else []
    return [] if all(re.fullmatch(r"LABEL_\d+", label) for label in labels) else labels
