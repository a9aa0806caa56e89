"""The encoder in a folder of `transformers`, with its own weights: all of them, and no others."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from models.encoder_folder import WEIGHTS
from models.networks.transformers import (
    EncoderError,
    Pooling,
    check_reads_pixels,
    class_options,
    first_line,
    library,
)

# Families whose pooler is a layer for classification behind the first token, or is none at all.
_POOLING: dict[str, Pooling] = {"vit": "first", "deit": "first", "efficientnet": "mean"}
# What older versions of the library saved with weights, or what only training needs.
_NO_WEIGHTS = (".position_ids", ".mask_token")


def load_encoder(folder: Path) -> tuple[nn.Module, Pooling]:
    """The encoder with its weights, and what of its outputs stands for an image. Raises `EncoderError`."""
    transformers = library()
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            config = getattr(config, "vision_config", config)  # the tower of a model of pictures and text
            kind = transformers.MODEL_MAPPING[type(config)]
            check_reads_pixels(kind)
            pooling = _POOLING.get(config.model_type, "pooler")
            encoder, told = _weights(transformers, folder, config, class_options(kind, pooling))
            missing = [key for key in told["missing_keys"] if "pooler" in key]
            if missing and len(missing) == len(told["missing_keys"]):  # it was never trained
                pooling = "first"
                encoder, told = _weights(transformers, folder, config, class_options(kind, pooling))
                # Where a pooler is no option of the class, it is there, and not used.
                told["missing_keys"] = [key for key in told["missing_keys"] if "pooler" not in key]
    except EncoderError:
        raise
    except SafetensorError as error:
        raise EncoderError(f"{WEIGHTS} beside it is damaged: {error}") from error
    except Exception as error:  # of any kind, as the numbers of a configuration may be any
        raise EncoderError(f"transformers cannot load this folder: {first_line(error)}") from error
    told["unexpected_keys"] = _of_its_own(encoder, told["unexpected_keys"])
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if told[what]:
            some = ", ".join(sorted(map(str, told[what]))[:3])
            raise EncoderError(f"{WEIGHTS} does not fit it: {what.replace('_', ' ')} {some}")
    return encoder, pooling


def _of_its_own(encoder: Any, names: Iterable[str]) -> list[str]:
    """Those `names` of weights that belong to parts which the encoder has: then it is not what was trained.

    Others are of a head for another task, of a pooler that is not used, or of the tower for texts.
    """
    parts, prefix = {name for name, _ in encoder.named_children()}, f"{encoder.base_model_prefix}."
    return [
        name
        for name in names
        if name.removeprefix(prefix).partition(".")[0] in parts and not name.endswith(_NO_WEIGHTS)
    ]


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
def actual_pooling(encoder: nn.Module, pooling: Pooling, shape: tuple[int, int, int]) -> Pooling:
    """`pooling`, or, if the encoder has no pooler of its own, what stands for an image then."""
    if pooling != "pooler":
        return pooling
    try:
        found = encoder(pixel_values=torch.zeros(1, *shape))
    except Exception:
        return pooling  # whoever asks for its width is told why
    if getattr(found, "pooler_output", None) is not None:
        return pooling
    return "first" if any("cls_token" in name for name, _ in encoder.named_parameters()) else "mean"


def _weights(
    transformers: Any, folder: Path, config: Any, options: dict[str, Any]
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
