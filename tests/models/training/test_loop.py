"""Training learns, is reproduced bit for bit, and writes a folder that loads."""

import hashlib
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models import Domain, EmbeddingModel, ModelError
from models.datasets import ImageSet, digits
from models.training import Epoch, Recipe, small, train
from retrievalguard.cli import app
from tests.models import folders

RECIPE = Recipe(sigma=0.25, epochs=3, width=16, dimension=32)
BRIEF = replace(RECIPE, epochs=1)


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / folders.WEIGHTS).read_bytes()).hexdigest()


def run(recipe: Recipe, folder: Path, data: ImageSet | None = None) -> EmbeddingModel:
    return train(data or digits("train"), recipe, folder, name="brief", command="as the test says")


def test_a_brief_training_learns(tmp_path: Path) -> None:
    losses: list[float] = []

    model = train(
        digits("train"),
        RECIPE,
        tmp_path,
        name="brief",
        command="c",
        progress=lambda epoch: losses.append(epoch.loss),
    )

    assert len(losses) == RECIPE.epochs
    assert losses[-1] < 0.75 * losses[0]
    gallery, query = digits("gallery"), digits("query")
    distances = np.linalg.norm(model(query.tensors)[:, None] - model(gallery.tensors)[None], axis=2)
    found = np.array(gallery.labels)[distances.argmin(axis=1)]
    # Chance is 0.1; 0.94 was seen, and other processors round otherwise.
    assert np.mean(found == query.labels) > 0.75


def test_the_same_recipe_gives_the_same_weights_whatever_else_goes_on(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run(BRIEF, tmp_path / "one")
    torch.rand(17)
    torch.set_num_threads(threads + 1)
    try:
        run(BRIEF, tmp_path / "two")
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)

    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")
    assert EmbeddingModel.load(tmp_path / "one").manifest == EmbeddingModel.load(tmp_path / "two").manifest


@pytest.mark.parametrize("change", [{"seed": 1}, {"sigma": 0.5}, {"copies": 2}, {"margin": 0.0}], ids=str)
def test_another_recipe_gives_other_weights(change: dict[str, float], tmp_path: Path) -> None:
    few = _few()

    run(BRIEF, tmp_path / "one", few)
    run(replace(BRIEF, **change), tmp_path / "two", few)  # type: ignore[arg-type]

    assert sha256(tmp_path / "one") != sha256(tmp_path / "two")


def _few() -> ImageSet:
    data = digits("train")
    return ImageSet(data.pixels[:150], data.labels[:150], data.ids[:150])


def test_the_manifest_says_how_to_train_again(tmp_path: Path) -> None:
    few = _few()

    manifest = run(BRIEF, tmp_path, few).manifest

    assert manifest.training == {
        "command": "as the test says",
        "images": 150,
        "labels": [str(label) for label in range(10)],
        "recipe": asdict(BRIEF),
    }
    assert manifest.domain == Domain(images="images", colour="grey", size=(8, 8))
    assert (manifest.name, manifest.sigma, manifest.input_shape) == ("brief", 0.25, (1, 8, 8))
    assert manifest.normalization.mean == pytest.approx(float(few.tensors.mean()), abs=1e-4)
    assert manifest.normalization.std == pytest.approx(float(few.tensors.std()), abs=1e-4)
    assert manifest.weights.sha256 == sha256(tmp_path)
    again = run(Recipe(**manifest.training["recipe"]), tmp_path / "again", few)
    assert again.manifest.digest() == manifest.digest()


def test_training_leaves_torchs_generator_alone(tmp_path: Path) -> None:
    state = torch.get_rng_state()

    run(BRIEF, tmp_path, _few())

    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_that_is_interrupted_leaves_no_model_behind(tmp_path: Path) -> None:
    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    torch.manual_seed(3)
    state = torch.get_rng_state()

    with pytest.raises(KeyboardInterrupt):
        train(_few(), BRIEF, tmp_path / "model", name="brief", command="c", progress=interrupt)

    assert not (tmp_path / "model").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_command_trains_a_model_that_loads_and_its_manifest_names_the_command(tmp_path: Path) -> None:
    sigma = "0.12345678"  # of which every digit counts
    command = ["train", "--data", "digits", "--sigma", sigma, "--epochs", "1"]
    program = Path(sys.executable).with_name("retrievalguard")

    done = subprocess.run(
        [program, *command, "--output", tmp_path / "by-command"], capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    model = EmbeddingModel.load(tmp_path / "by-command")
    assert shlex.split(model.manifest.training["command"]) == ["retrievalguard", *command]
    assert model.manifest.name == "by-command"
    assert model.manifest.sigma == float(sigma)
    assert str(model.manifest.trained_on) == "8 x 8 grey handwritten digits"
    assert model.manifest.digest() in done.stderr
    # What the command runs is `train` with the recipe that it stands for, in whichever process.
    assert (
        run(Recipe(sigma=float(sigma), epochs=1), tmp_path / "in-process").manifest.digest()
        == model.manifest.digest()
    )


def test_the_small_network_is_trained_on_emoji_for_some_time(tmp_path: Path) -> None:
    arguments = [
        "train",
        "--data",
        "emoji",
        "--sigma",
        "0.25",
        "--minutes",
        "0.05",
        "--output",
        str(tmp_path),
    ]

    done = CliRunner().invoke(app, arguments)

    assert done.exit_code == 0, done.output
    model = EmbeddingModel.load(tmp_path)
    assert model.manifest.architecture.kind == "residual"
    assert (model.input_shape, model.dimension) == ((3, 48, 48), 128)
    assert str(model.manifest.trained_on) == "48 x 48 RGB emoji"
    assert len(model.manifest.training["labels"]) == 1225
    assert model.manifest.training["minutes"] == 0.05
    assert model.manifest.training["recipe"] == asdict(small(0.25))
    assert shlex.split(model.manifest.training["command"]) == ["retrievalguard", *arguments[:-2]]


def test_with_a_validation_the_best_weights_are_kept_and_told(tmp_path: Path) -> None:
    data, queries = digits("train").take(range(300)), digits("query").take(range(60))
    # After a good start the rate ruins the network.
    wild = replace(RECIPE, epochs=20, learning_rate=0.3, schedule="steps")
    told: list[Epoch] = []

    model = train(data, wild, tmp_path, name="b", command="c", validation=queries, progress=told.append)

    scores = [epoch.score for epoch in told if epoch.score is not None]
    best = max(scores, key=lambda score: score.radius)
    assert model.manifest.training["validation"] == asdict(best)


def test_a_training_that_gets_no_better_ends_early(tmp_path: Path) -> None:
    data, queries = digits("train").take(range(60)), digits("query").take(range(20))
    # Nothing moves: every validation after the first is no better than the first, but as good.
    still = replace(RECIPE, epochs=40, learning_rate=1e-12, weight_decay=0.0)
    told: list[Epoch] = []

    train(data, still, tmp_path, name="b", command="c", validation=queries, progress=told.append)

    assert len(told) < 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no GPU here that torch can use: train with --device cpu"):
        train(_few(), BRIEF, tmp_path / "model", name="b", command="c", device="cuda")

    assert not (tmp_path / "model").exists()


def test_epochs_and_minutes_are_not_both_given(tmp_path: Path) -> None:
    arguments = ["train", "--data", "digits", "--sigma", "1", "--output", str(tmp_path / "model")]

    done = CliRunner().invoke(app, [*arguments, "--epochs", "1", "--minutes", "1"])

    assert done.exit_code == 2
    assert "--epochs or --minutes, not both" in done.output
