"""Folding: no batch normalisation is left that could go, and the function is the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import EmbeddingModel
from models.encoders import import_encoder
from models.networks.embedding import SphereEmbedding
from models.passes.folding import fold_batch_norm
from tests.models import backbones
from tests.models.folders import denoised, model_of, residual


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def check(model: EmbeddingModel, left: int = 0) -> None:
    before = norms(model.network)
    assert before > left
    images = np.random.default_rng(0).random((4, *model.input_shape), np.float32)
    expected = model(images)

    folded = fold_batch_norm(model.network, model.input_shape)

    assert norms(folded) == left
    assert norms(model.network) == before
    assert np.array_equal(model(images), expected)  # the network itself is as it was
    assert not any(module._forward_hooks for module in folded.modules())
    difference = EmbeddingModel(model.manifest, folded)(images) - expected
    assert 0 < np.abs(difference).max() < 1e-5  # one rounding less


def test_a_convolutional_network(untrained: nn.Module) -> None:
    check(model_of(untrained))  # type: ignore[arg-type]


def test_residual_blocks() -> None:
    check(residual())


def test_a_denoiser_in_front() -> None:
    check(denoised())


@pytest.mark.parametrize("family", ["resnet", "efficientnet"])
def test_encoders_of_transformers(family: str, tmp_path: Path) -> None:
    folder = backbones.made(family, tmp_path / family)
    check(import_encoder(folder, tmp_path / "model", sigma=0.25))


class Odd(SphereEmbedding):
    """Normalisations that must stay: behind no convolution, used twice, or of a convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.alone, self.twice, self.shared = (nn.BatchNorm2d(3) for _ in range(4))
        self.one, self.other, self.again = (nn.Conv2d(3, 3, 1) for _ in range(3))
        for module in (self.first, self.alone, self.twice, self.shared):
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]

    def scores(self, pixels: Tensor) -> Tensor:
        values = self.alone(self.one(self.first(pixels)))
        values = self.twice(self.twice(self.other(values)))
        again = self.again(values)
        return (self.shared(again) + self.again(again)).flatten(1)


def test_what_cannot_be_folded_stays(shipped: EmbeddingModel) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        manifest = shipped.manifest.model_copy(update={"input_shape": (3, 4, 4)})
        check(EmbeddingModel(manifest, Odd()), left=3)
