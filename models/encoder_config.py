"""Which configurations of `transformers` are run: of families that were tried, with nothing from elsewhere.

Some keys of a configuration make the library look for files on a hub, or download code and run it. None of
the families here needs them, so they are refused wherever they stand.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Each was seen to load, to embed and to give the same embedding again after it was saved.
FAMILIES = frozenset(
    {
        "beit",
        "clip_vision_model",
        "convnext",
        "convnextv2",
        "deit",
        "dinov2",
        "dinov2_with_registers",
        "dinov3_vit",
        "efficientnet",
        "mobilenet_v2",
        "regnet",
        "resnet",
        "siglip_vision_model",
        "swin",
        "swinv2",
        "vit",
    }
)
# Models of pictures and text, of which the tower for pictures is taken.
WITH_TEXT = frozenset({"clip", "siglip"})
# A key, and why nothing of the kind is run.
_REFUSED = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (
            "auto_map",
            "names code that comes with the model, and such code is never run: use an architecture that"
            " transformers has itself",
        ),
        ("quantization_config", "says that the weights are quantized already: use those in full precision"),
        (r"_?(attn|experts)_implementation(_internal)?", "may name code to download: leave it out"),
        (r"backbone.*|use_.*backbone", "may name another model to download: leave it out"),
        ("transformers_weights", "names another file of weights: leave it out"),
    )
)


def check_config(config: Mapping[str, Any], *, with_text: bool = False) -> None:
    """`ValueError` for a configuration that is not run here; it names the key.

    `with_text`: whether models of pictures and text are taken too.
    """
    for key, value in _entries(config):
        why = next((why for pattern, why in _REFUSED if pattern.fullmatch(key)), None)
        if why is not None and value is not None and value is not False:
            raise ValueError(f"{key} {why}")
    known = FAMILIES | (WITH_TEXT if with_text else frozenset())
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in known:
        raise ValueError(
            f"model_type must name an architecture that was tried, not {model_type!r}:"
            f" {', '.join(sorted(known))}"
        )


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in order, as JSON has it; `ValueError` for what JSON has no word for."""
    try:
        ordered: dict[str, Any] = json.loads(json.dumps(config, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error
    return ordered


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, also of what is nested."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _entries(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _entries(inner)
