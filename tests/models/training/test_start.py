"""What of a given model learns, and what stays as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import EmbeddingModel, ModelError
from models.datasets import ImageSet, digits
from models.encoders import import_encoder
from models.training import denoising, fine_tuning, head_alone, train
from tests.models import backbones, folders

SIGMA = 0.25
BRIEF = {"epochs": 1, "batch": 16, "augmentation": 0.0}


@pytest.fixture(scope="module")
def few() -> ImageSet:
    return digits("train").take(range(40))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    """Of transformers, with a random head."""
    folder = tmp_path_factory.mktemp("encoder")
    source = backbones.made("resnet", folder / "resnet")
    return import_encoder(source, folder / "model", sigma=SIGMA, dimension=8)


def colour(data: ImageSet) -> ImageSet:
    return replace(data, pixels=data.pixels.repeat(3, axis=1))


def weights(model: EmbeddingModel, part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.network.state_dict().items() if name.startswith(part)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_head_learns_alone_and_gets_the_orthant(
    encoder: EmbeddingModel, few: ImageSet, tmp_path: Path
) -> None:
    recipe = replace(head_alone(SIGMA), **BRIEF)

    model = train(colour(few), recipe, tmp_path, name="h", command="c", given=encoder)

    assert same(weights(model, "encoder"), weights(encoder, "encoder"))
    assert not same(weights(model, "head"), weights(encoder, "head"))
    assert (encoder.nonnegative, model.nonnegative) == (False, True)
    assert model.dimension == 8
    manifest = model.manifest
    assert manifest.preprocessing == encoder.manifest.preprocessing
    assert manifest.normalization == encoder.manifest.normalization
    assert manifest.training["labels"] == sorted(set(few.labels))
    assert manifest.training["given"] == {"name": "resnet", "digest": encoder.manifest.digest()}
    assert manifest.training["recipe"]["dimension"] == 8


def test_all_of_a_backbone_learns(encoder: EmbeddingModel, few: ImageSet, tmp_path: Path) -> None:
    recipe = replace(fine_tuning(SIGMA), **BRIEF)

    model = train(colour(few), recipe, tmp_path, name="a", command="c", given=encoder)

    assert not same(weights(model, "encoder"), weights(encoder, "encoder"))
    assert not same(weights(model, "head"), weights(encoder, "head"))


def test_a_denoiser_leaves_what_is_behind_it_as_it_was(few: ImageSet, tmp_path: Path) -> None:
    shipped = EmbeddingModel.load("digits-cnn")
    recipe = replace(denoising(SIGMA, len(few)), epochs=2, width=3)

    model = train(few, recipe, tmp_path, name="d", command="c", given=shipped)

    assert model.manifest.architecture.kind == "denoised"
    behind = {f"backbone.{name}": value for name, value in shipped.network.state_dict().items()}
    assert same(weights(model, "backbone"), behind)
    assert weights(model, "denoiser.change")["denoiser.change.weight"].any()
    assert model.nonnegative
    # A denoiser learns no labels: those are the ones that the network behind it knows.
    assert model.manifest.training["labels"] == shipped.manifest.training["labels"]
    assert model.manifest.digest() != shipped.manifest.digest()

    with pytest.raises(ModelError, match="d has a denoiser already"):
        train(few, recipe, tmp_path / "again", name="e", command="c", given=model)


def test_a_model_without_a_head_is_told(few: ImageSet, tmp_path: Path) -> None:
    source = backbones.made("resnet", tmp_path / "resnet")
    headless = import_encoder(source, tmp_path / "model", sigma=SIGMA)

    with pytest.raises(ModelError, match="resnet has no head that could learn alone"):
        train(colour(few), head_alone(SIGMA), tmp_path / "o", name="h", command="c", given=headless)


def test_what_is_given_is_not_changed(few: ImageSet, tmp_path: Path) -> None:
    model = folders.residual()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    recipe = replace(fine_tuning(SIGMA), **BRIEF)

    train(colour(few), recipe, tmp_path, name="a", command="c", given=model)

    assert same(model.network.state_dict(), before)
    assert not any(value.requires_grad for value in model.network.parameters())
    assert not model.network.training


def test_one_label_is_nothing_to_learn_from(few: ImageSet, tmp_path: Path) -> None:
    alike = few.take([row for row, label in enumerate(few.labels) if label == "3"])

    with pytest.raises(ModelError, match="all images are of one label"):
        train(alike, fine_tuning(SIGMA), tmp_path, name="a", command="c", given=folders.residual())
