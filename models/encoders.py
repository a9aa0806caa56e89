"""From a folder that `transformers` can load to a model folder of ours: a vision encoder, as an embedding.

What decides the embedding is copied: the configuration into the manifest, the weights, in float32, beside it.
So the folder stands alone, and what is loaded later is what was imported, byte by byte.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import nn

from models.manifest import MANIFEST, Domain, Manifest, ModelError, TransformersArchitecture, Weights, told
from models.model import EmbeddingModel, build_network, save_weights
from models.networks.embedding import EmbeddingNetwork
from models.networks.transformers import (
    EncoderError,
    Pooling,
    check_reads_pixels,
    encoder_width,
    library,
    missing_library,
    without_pooler,
)
from models.preprocessors import Prepared, PreprocessorError, prepared

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
# The weights that are written.
OURS = "weights.safetensors"
# Weights that may run code when they are read.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.pkl")
# Families whose pooler is a layer for classification behind the first token, or is none at all.
_POOLING: dict[str, Pooling] = {"vit": "first", "deit": "first", "efficientnet": "mean"}
# What of a configuration has no part in the network.
_NO_PART = {"id2label", "label2id", "architectures", "_name_or_path", "transformers_version", "dtype"}
_SEED = 0


def import_encoder(
    folder: Path, output: Path, *, sigma: float, name: str | None = None, dimension: int | None = None
) -> EmbeddingModel:
    """Write a model folder `output` for the encoder in `folder`, and load it from there.

    `sigma` is the noise that it is meant for; `name` defaults to that of the folder. With a `dimension`, a
    fixed random projection to so many numbers is put behind it, which keeps distances about. Raises
    `ModelError`, which names the file and what to do, for anything that is no vision encoder in safetensors.
    """
    config, processor = _json(folder / CONFIG), _json(folder / PREPROCESSOR)
    files = _checked(folder, config)
    try:
        made = prepared(processor)
    except ValidationError as error:
        raise ModelError(f"{folder / PREPROCESSOR}: {told(error)}") from error
    except (PreprocessorError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / PREPROCESSOR}: {error}") from error
    try:
        encoder, pooling = _loaded(folder)
        described = encoder.config.to_dict()  # type: ignore[union-attr, operator]
        shape = (described.get("num_channels", 3), *made.size)
        pooling = _there(encoder, pooling, shape)
        width = encoder_width(encoder, pooling, shape)
    except EncoderError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    labels = _labels(config)
    network, manifest = _embedding(
        {
            "kind": "transformers",
            "dimension": dimension or width,
            "config": _plain(described),
            "pooling": pooling,
            "head": "identity" if dimension is None else "linear",
        },
        shape,
        made,
        encoder,
        place=folder / PREPROCESSOR,
        name=name or re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name)[:64],
        sigma=sigma,
        training={"files": files} | ({"labels": labels} if labels else {}),
    )
    output.mkdir(parents=True, exist_ok=True)
    weights = Weights(file=OURS, sha256=save_weights(network, output / OURS))
    manifest = manifest.model_copy(update={"weights": weights})
    (output / MANIFEST).write_text(manifest.model_dump_json(indent=2, exclude_none=True) + "\n")
    return EmbeddingModel.load(output)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): a folder of transformers holds {CONFIG}, {WEIGHTS}"
            f" and {PREPROCESSOR}, as `save_pretrained` of a model and of its image processor write them"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no JSON object: it is not a file of transformers")
    return content


def _checked(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of every file that is read; `ModelError` for what is not read here."""
    if "auto_map" in config:
        raise ModelError(
            f"{folder / CONFIG}: auto_map names code that comes with the model, and such code is never run:"
            " use an architecture that transformers has itself"
        )
    if config.get("quantization_config") is not None:
        raise ModelError(f"{folder / CONFIG}: the weights are quantized already: use those in full precision")
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = f"only {', '.join(pickled)}, which can run any code when they are read: " if pickled else ""
        raise ModelError(
            f"{folder} has no {WEIGHTS}: {found}load the model where you trust it, and"
            " save_pretrained(..., safe_serialization=True)"
        )
    parts = sorted(folder.glob("model*.safetensors.index.json"))
    paths = [folder / CONFIG, folder / PREPROCESSOR, *parts, *weights]
    return {path.name: _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _loaded(folder: Path) -> tuple[nn.Module, Pooling]:
    """The encoder with its weights, and what of its outputs stands for an image. Raises `EncoderError`."""
    transformers = library()
    model_type = "?"
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            config = getattr(config, "vision_config", config)  # the tower of a model of pictures and text
            model_type = config.model_type
            kind = transformers.MODEL_MAPPING[type(config)]
            check_reads_pixels(kind)
            pooling = _POOLING.get(model_type, "pooler")
            encoder, told = _weights(transformers, folder, config, without_pooler(kind, pooling))
            missing = [key for key in told["missing_keys"] if "pooler" in key]
            if missing and len(missing) == len(told["missing_keys"]):  # it was never trained
                pooling = "first"
                encoder, told = _weights(transformers, folder, config, without_pooler(kind, pooling))
                told["missing_keys"] = []
    except ImportError as error:
        raise EncoderError(missing_library(model_type, error)) from error
    except SafetensorError as error:
        raise EncoderError(f"{WEIGHTS} beside it is damaged: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise EncoderError(f"transformers cannot load this folder: {first}") from error
    for what in ("missing_keys", "mismatched_keys"):
        if told[what]:
            some = ", ".join(sorted(map(str, told[what]))[:3])
            raise EncoderError(f"{WEIGHTS} does not fit it: {what.replace('_', ' ')} {some}")
    return encoder, pooling


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Within the block the library shows no progress, and does not list the weights that are not used."""
    logging, before = transformers.utils.logging, transformers.utils.logging.get_verbosity()
    showing = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if showing:
            logging.enable_progress_bar()


@torch.no_grad()
def _there(encoder: nn.Module, pooling: Pooling, shape: tuple[int, int, int]) -> Pooling:
    """`pooling`, or, if the encoder has no pooler of its own, what stands for an image then."""
    if pooling != "pooler":
        return pooling
    try:
        found = encoder(pixel_values=torch.zeros(1, *shape))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return pooling  # whoever asks for its width is told why
    if getattr(found, "pooler_output", None) is not None:
        return pooling
    return "first" if any("cls_token" in name for name, _ in encoder.named_parameters()) else "mean"


def _weights(
    transformers: Any, folder: Path, config: Any, options: dict[str, bool]
) -> tuple[nn.Module, dict[str, Any]]:
    encoder, told = transformers.AutoModel.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
    return encoder, told


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
    found: dict[str, Any] = json.loads(
        json.dumps({key: value for key, value in described.items() if key not in _NO_PART})
    )
    return found


def _labels(config: Mapping[str, Any]) -> list[str]:
    """What the model was trained to tell apart, if its configuration names it."""
    named = config.get("id2label")
    labels = [str(label) for label in named.values()] if isinstance(named, Mapping) else []
    return [] if all(re.fullmatch(r"LABEL_\d+", label) for label in labels) else labels
