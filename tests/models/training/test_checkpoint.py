"""A training that is cut short goes on exactly where it stood, or says why it cannot."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import EmbeddingModel, ModelError
from models.datasets import ImageSet, digits
from models.training import CheckpointError, Epoch, Recipe, TrainingDiverged, denoising, train
from models.training.checkpoint import CHECKPOINT
from tests.models import folders

PLAIN = Recipe(sigma=0.25, epochs=3, batch=32, width=4, dimension=16, copies=2)
AVERAGED = replace(PLAIN, backbone="residual", augmentation=1.0, averaging=0.9, side=12)
MARGIN = replace(PLAIN, loss="margin", schedule="steps", margin=0.2)
DENOISER = replace(denoising(0.25, 60), epochs=3, width=3)


@pytest.fixture(scope="module")
def few() -> ImageSet:
    return digits("train").take(range(60))


@pytest.fixture(scope="module")
def queries() -> ImageSet:
    return digits("query").take(range(20))


class Stopped(Exception):
    """Somebody ends the training."""


def run(
    recipe: Recipe, folder: Path, data: ImageSet, stop_after: int = 0, queries: ImageSet | None = None
) -> list[Epoch]:
    """The epochs of a training that saves itself after each, and is stopped after one of them, if asked."""
    epochs: list[Epoch] = []

    def progress(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.number == stop_after:
            raise Stopped

    given = EmbeddingModel.load("digits-cnn") if recipe.backbone == "given" else None
    train(
        data, recipe, folder, given=given,
        name="brief", command="c", validation=queries, save_every=0, progress=progress,
    )  # fmt: skip
    return epochs


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / folders.WEIGHTS).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("recipe", "validated"),
    [(PLAIN, False), (AVERAGED, True), (MARGIN, False), (DENOISER, True)],
    ids=["plain", "averaged and validated", "margin loss", "denoiser"],
)
def test_a_training_that_was_stopped_ends_as_if_it_never_had_been(
    recipe: Recipe, validated: bool, few: ImageSet, queries: ImageSet, tmp_path: Path
) -> None:
    asked = queries if validated else None
    whole = run(recipe, tmp_path / "whole", few, queries=asked)

    with pytest.raises(Stopped):
        run(recipe, tmp_path / "cut", few, stop_after=2, queries=asked)
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    torch.rand(11)
    rest = run(recipe, tmp_path / "cut", few, queries=asked)

    assert [epoch.number for epoch in rest] == [3]
    assert rest == whole[2:]
    assert sha256(tmp_path / "cut") == sha256(tmp_path / "whole")


def test_a_finished_training_leaves_a_model_and_no_checkpoint(few: ImageSet, tmp_path: Path) -> None:
    run(PLAIN, tmp_path, few)

    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "weights.safetensors"}


def test_a_checkpoint_of_another_training_is_refused_and_kept(few: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(PLAIN, tmp_path, few, stop_after=1)
    before = (tmp_path / CHECKPOINT).read_bytes()

    for recipe, data in ((replace(PLAIN, seed=1), few), (PLAIN, few.take(range(59)))):
        with pytest.raises(CheckpointError, match="is of another training"):
            run(recipe, tmp_path, data)

    assert (tmp_path / CHECKPOINT).read_bytes() == before


class Opened:
    """Unpickling one makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("damage", ["cut", "no checkpoint", "code"])
def test_a_damaged_checkpoint_is_refused_and_runs_no_code(damage: str, few: ImageSet, tmp_path: Path) -> None:
    path, trap = tmp_path / CHECKPOINT, tmp_path / "trap"
    with pytest.raises(Stopped):
        run(PLAIN, tmp_path, few, stop_after=1)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "no checkpoint":
        path.write_bytes(b"nothing of the kind")
    else:
        torch.save({"digest": "", "state": Opened(trap)}, path)

    with pytest.raises(CheckpointError, match="delete it, and the training starts anew"):
        run(PLAIN, tmp_path, few)

    assert not trap.exists()


def test_a_training_that_diverges_says_when_and_keeps_its_last_good_checkpoint(
    few: ImageSet, tmp_path: Path
) -> None:
    wild = replace(PLAIN, learning_rate=1e30, schedule="steps")

    with pytest.raises(TrainingDiverged, match=r"epoch \d+: the loss is no number any more") as first:
        run(wild, tmp_path, few)

    assert not (tmp_path / "manifest.json").exists()
    assert "lower learning rate" in str(first.value)
    kept = tmp_path / CHECKPOINT
    assert kept.is_file() == ("the checkpoint of epoch" in str(first.value))
    if kept.is_file():
        weights = torch.load(kept, weights_only=True)["state"]["run"]["network"]
        assert all(np.isfinite(value.numpy()).all() for value in weights.values())


def test_a_name_that_no_model_can_have_is_told_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be called 'my model'"):
        train(digits("train"), Recipe(0.25, epochs=10**6), tmp_path, name="my model", command="")
