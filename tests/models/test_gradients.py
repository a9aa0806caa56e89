"""The gradient of a margin against differences of the margin, and the margin against its definition."""

import numpy as np
import pytest
import torch

from models import EmbeddingModel, SmoothedMargin, one_thread
from tests.service.queries import tensor

SIGMA, DRAWS = 0.25, 64


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel.load("digits-cnn")


@pytest.fixture(scope="module")
def vectors(model: EmbeddingModel) -> "np.typing.NDArray[np.float64]":
    """Of twelve pictures, each with a number more, as blended vectors have."""
    pictures = np.stack([tensor(row) for row in range(12)])
    return np.hstack([model(pictures).astype(np.float64), np.full((12, 1), 0.1)])


def margin(model: EmbeddingModel, vectors: "np.typing.NDArray[np.float64]", seed: int = 7) -> SmoothedMargin:
    return SmoothedMargin(model.network, SIGMA, vectors[:5], vectors[5:], seed)


def test_it_is_the_margin_by_which_others_are_nearer(
    model: EmbeddingModel, vectors: "np.typing.NDArray[np.float64]"
) -> None:
    noise = torch.randn((DRAWS, 1, 8, 8), generator=torch.Generator().manual_seed(7)).numpy()
    mean = np.append(model(tensor(0) + np.float32(SIGMA) * noise).mean(axis=0), 0)
    squares = ((vectors - mean) ** 2).sum(axis=1)
    nearer = (squares[:5].min() - squares[5:].min()) / 2
    assert margin(model, vectors).value(tensor(0), DRAWS) == pytest.approx(nearer, abs=1e-5)


def test_the_gradient_is_that_of_the_value(
    model: EmbeddingModel, vectors: "np.typing.NDArray[np.float64]"
) -> None:
    image = tensor(0)
    gradient = margin(model, vectors).gradient(image, DRAWS)
    assert gradient.shape == image.shape
    step = gradient / np.linalg.norm(gradient) * np.float32(1e-2)
    # The same seed, the same noise.
    ahead, behind = (margin(model, vectors).value(image + way * step, DRAWS) for way in (1, -1))
    assert (ahead - behind) / 2e-2 == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)


def test_noise_is_fresh_at_each_draw_and_that_of_the_seed(
    model: EmbeddingModel, vectors: "np.typing.NDArray[np.float64]"
) -> None:
    one, same, other = (margin(model, vectors, seed) for seed in (1, 1, 2))
    first = one.value(tensor(0), DRAWS)
    assert same.value(tensor(0), DRAWS) == first
    assert one.value(tensor(0), DRAWS) != first
    assert other.value(tensor(0), DRAWS) != first


def test_threads_are_as_many_as_before() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
