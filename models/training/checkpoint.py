"""A training that was cut short, as a file: the next one with the same command goes on where it stood."""

import hashlib
import json
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from models.datasets import ImageSet
from models.errors import ModelError
from models.training.recipe import Recipe

CHECKPOINT = "checkpoint.pt"


class CheckpointError(ModelError):
    """A checkpoint cannot be gone on with; the message says what to do."""


def training_digest(
    recipe: Recipe, minutes: float | None, device: str, given: str | None, *data: ImageSet | None
) -> str:
    """What a checkpoint belongs to, in hexadecimal.

    That is recipe, time, device, torch, the digest of the model that is `given`, and the data sets.
    """
    found = hashlib.sha256(json.dumps([asdict(recipe), minutes, device, given, torch.__version__]).encode())
    for images in data:
        found.update(json.dumps((images.ids, images.labels) if images else None).encode())
        found.update(images.pixels.tobytes() if images else b"")
    return found.hexdigest()


def save_checkpoint(folder: Path, digest: str, state: dict[str, Any]) -> None:
    """Write `state`, tensors and plain values, to `folder`: all of it, or what was there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CHECKPOINT}.partial"
    torch.save({"digest": digest, "state": state}, partial)
    os.replace(partial, folder / CHECKPOINT)


def load_checkpoint(folder: Path, digest: str) -> dict[str, Any] | None:
    """The state that was saved in `folder`; None if there is none. Only tensors and plain values are read.

    Raises `CheckpointError` if it is damaged or of another training.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = content["digest"], content["state"]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read, it is damaged or no checkpoint: delete it, and the training starts anew"
        ) from error
    if found != digest:
        raise CheckpointError(
            f"{path} is of another training (recipe, time, device, torch, model or data differ): go on with"
            " the command that began it, delete the file to start anew, or choose another --output"
        )
    loaded: dict[str, Any] = state
    return loaded


def remove_checkpoint(folder: Path) -> None:
    """Nothing is left to go on with."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
