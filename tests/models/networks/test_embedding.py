"""The last lines of every network, which prove its space: no scores lead out, and nobody overrides them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from certify import EmbeddingSpace
from models.networks.convolutional import ConvolutionalEmbedding
from models.networks.denoised import DenoisedOrthantEmbedding, DenoisedSphereEmbedding
from models.networks.embedding import FLOOR, EmbeddingNetwork, OrthantEmbedding, SphereEmbedding
from models.networks.residual import ResidualEmbedding


class Orthant(OrthantEmbedding):
    def scores(self, pixels: Tensor) -> Tensor:
        return pixels


class Sphere(SphereEmbedding):
    def scores(self, pixels: Tensor) -> Tensor:
        return pixels


SCORES = arrays.arrays(
    np.float32, (3, 7), elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=True)
)


@pytest.mark.parametrize("network", [Orthant(), Sphere()], ids=["orthant", "sphere"])
@given(scores=SCORES)
def test_any_scores_become_an_embedding_in_the_space_of_the_class(
    network: EmbeddingNetwork, scores: NDArray[np.float32]
) -> None:
    space = EmbeddingSpace.normalized(7, nonnegative=network.nonnegative)
    for embeddings in (network(torch.from_numpy(scores)).numpy(), network.finished(scores)):
        assert embeddings.dtype == np.float32
        assert space.holds(embeddings)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e9])
@pytest.mark.parametrize("network", [Orthant(), Sphere()], ids=["orthant", "sphere"])
def test_both_ways_to_finish_agree_and_keep_directions(network: EmbeddingNetwork, scale: float) -> None:
    scores = (scale * np.random.default_rng(0).standard_normal((50, 9))).astype(np.float32)
    embeddings = network(torch.from_numpy(scores)).numpy()
    kept = np.maximum(scores, 0) + FLOOR if network.nonnegative else scores
    expected = kept / np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)

    assert np.abs(embeddings - network.finished(scores)).max() < 1e-6
    assert np.abs(embeddings - expected).max() < 1e-6


def test_scores_of_nothing_are_numbers() -> None:
    nothing = np.zeros((2, 4), np.float32)
    assert np.array_equal(Sphere.finished(nothing), nothing)
    assert np.array_equal(Sphere()(torch.zeros(2, 4)).numpy(), nothing)
    assert np.allclose(Orthant.finished(nothing), 0.5)
    assert np.allclose(Orthant()(torch.zeros(2, 4)).numpy(), 0.5)


@pytest.mark.parametrize(
    "kind",
    [ConvolutionalEmbedding, ResidualEmbedding, DenoisedOrthantEmbedding, DenoisedSphereEmbedding],
)
def test_no_network_overrides_what_proves_its_space(kind: type[EmbeddingNetwork]) -> None:
    home = OrthantEmbedding if kind.nonnegative else SphereEmbedding
    assert issubclass(kind, home)
    assert (kind.forward, kind.finished) == (home.forward, home.finished)
    assert kind.normalised is home.normalised
