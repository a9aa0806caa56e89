"""`train` on pictures of one's own, and on from a backbone: what a user types, and what they get."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models import EmbeddingModel
from models.datasets import digits
from retrievalguard.cli import app
from service.images import png
from tests.models import backbones
from tests.models.datasets import replicas


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of three labels in folders, and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    data = digits("train")
    for pixels, label, id_ in zip(data.pixels[:40], data.labels, data.ids, strict=False):
        if label in "012":
            (folder / label).mkdir(parents=True, exist_ok=True)
            (folder / label / f"{id_}.png").write_bytes(png(pixels))
    (folder / "0" / "bad.png").write_bytes(b"no picture")
    (folder / "0" / "notes.txt").write_text("no picture either")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", "--sigma", "0.25", *map(str, arguments)])


def test_a_new_network_for_a_folder_of_pictures(photos: Path, tmp_path: Path) -> None:
    done = run("--data", photos, "--epochs", 1, "--output", tmp_path / "own")

    assert done.exit_code == 0, done.output
    assert f"not trained on: {photos}/0/bad.png: the bytes are no PNG, JPEG or WebP" in done.output
    assert "1 skipped: no image" in done.output
    model = EmbeddingModel.load(tmp_path / "own")
    assert model.manifest.architecture.kind == "residual"
    assert model.input_shape == (1, 32, 32)
    assert str(model.manifest.trained_on) == "8 x 8 grey images of photos"
    assert model.manifest.training["labels"] == ["0", "1", "2"]
    assert model.manifest.training["command"] == (
        f"retrievalguard train --data {photos} --sigma 0.25 --epochs 1"
    )


def test_a_published_data_set_trains_on_its_own_classes(tmp_path: Path) -> None:
    root = replicas.cub200(tmp_path / "copy")
    done = run("--data", "cub200", "--root", root, "--epochs", 1, "--output", tmp_path / "birds")

    assert done.exit_code == 0, done.output
    assert "5,864 as published" in " ".join(done.output.split())
    manifest = EmbeddingModel.load(tmp_path / "birds").manifest
    assert manifest.training["labels"] == ["099.Bird_99", "100.Bird_100"]
    assert manifest.training["command"] == (
        f"retrievalguard train --data cub200 --sigma 0.25 --root {root} --epochs 1"
    )
    assert str(manifest.trained_on) == "32 x 32 grey images of CUB-200-2011"


def test_a_backbone_of_transformers_gets_a_head_and_then_a_denoiser(photos: Path, tmp_path: Path) -> None:
    backbone = backbones.made("resnet", tmp_path / "resnet", backbones.CROPPED)

    headed = run(
        "--data", photos, "--backbone", backbone, "--frozen", "--epochs", 1, "--output", tmp_path / "headed"
    )  # fmt: skip
    assert headed.exit_code == 0, headed.output
    model = EmbeddingModel.load(tmp_path / "headed")
    assert (model.manifest.architecture.kind, model.dimension, model.nonnegative) == (
        "transformers", 128, True,
    )  # fmt: skip
    assert model.manifest.preprocessing is not None
    assert model.manifest.preprocessing.shortest_edge == backbones.SIDE + 4

    arguments = ("--data", photos, "--backbone", tmp_path / "headed", "--denoiser", "--epochs", 1)
    denoised = run(*arguments, "--output", tmp_path / "denoised")
    assert denoised.exit_code == 0, denoised.output
    behind = EmbeddingModel.load(tmp_path / "denoised").manifest
    assert behind.training["given"] == {"name": "headed", "digest": model.manifest.digest()}
    assert behind.training["labels"] == ["0", "1", "2"]
    assert "--denoiser" in behind.training["command"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--frozen",), "name its folder by --backbone"),
        (("--denoiser",), "name its folder by --backbone"),
        (("--backbone", "digits-cnn", "--denoiser", "--frozen"), "--frozen or --denoiser, not both"),
        (("--backbone", "digits-cnn", "--denoiser", "--loss", "margin"), "a denoiser has its own"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = run("--data", "digits", "--output", tmp_path / "model", *arguments)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


def test_a_backbone_and_data_that_are_not_there_are_told(photos: Path, tmp_path: Path) -> None:
    done = run("--data", photos, "--backbone", "nothing", "--output", tmp_path / "model")
    assert "--backbone: nothing is neither a model that ships with the project" in str(done.exception)
    done = run("--data", tmp_path / "nothing", "--output", tmp_path / "model")
    assert "is neither a folder with a sub-folder for each label" in str(done.exception)
    assert not (tmp_path / "model").exists()
