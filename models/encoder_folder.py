"""The files of a folder that `transformers` wrote: which are read, and that they are what they must be."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.encoder_config import check_config
from models.errors import ModelError

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
# Which file each weight is in, if there are several.
_PARTS = f"{WEIGHTS}.index.json"
_PART = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)
# With it the library would load another model, and change its weights by this one.
_ADAPTER = "adapter_config.json"
# Weights that may run code when they are read.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.pkl")


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file `path`; `ModelError` if there is none, or if a number in it is not finite."""
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, allow_nan=False)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): a folder of transformers holds {CONFIG}, {WEIGHTS}"
            f" and {PREPROCESSOR}, as `save_pretrained` of a model and of its image processor write them"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no JSON object: it is not a file of transformers")
    return content


def check_folder(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of every file that is read, by name; `ModelError` for what is not read here."""
    try:
        check_config(config, with_text=True)
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    if (folder / _ADAPTER).exists():
        raise ModelError(
            f"{folder / _ADAPTER}: adapters are not read: merge it into its model, and save that"
        )
    names = [CONFIG, PREPROCESSOR, *_weights(folder)]
    return {name: _sha256(folder / name) for name in names}


def _weights(folder: Path) -> list[str]:
    """The names of the files of weights, and of the one that lists them."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / _PARTS).is_file():
        return [_PARTS, *_parts(folder)]
    pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    found = f"only {', '.join(pickled)}, which can run any code when they are read: " if pickled else ""
    raise ModelError(
        f"{folder} has no {WEIGHTS}: {found}load the model where you trust it, and"
        " save_pretrained(..., safe_serialization=True)"
    )


def _parts(folder: Path) -> list[str]:
    """The files that the list of weights names: of this folder, and in safetensors."""
    places = read_json(folder / _PARTS).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{folder / _PARTS}: weight_map must say which file each weight is in")
    for name in places.values():
        if not isinstance(name, str) or not _PART.fullmatch(name) or ".." in name:
            raise ModelError(f"{folder / _PARTS}: {name!r} is not the name of a .safetensors file beside it")
        if not (folder / name).is_file():
            raise ModelError(f"{folder / _PARTS}: {name} is not there: copy it too")
    return sorted(set(places.values()))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
