"""A denoiser in training: what is minimised, and that less noise is left at the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import EmbeddingModel
from models.datasets import digits
from models.networks.denoised import denoised
from models.training import denoising, train
from models.training.denoising import Denoising
from models.training.objective import Batch

SIGMA = 0.25


@pytest.fixture(scope="module")
def shipped() -> EmbeddingModel:
    return EmbeddingModel.load("digits-cnn")


def batch(count: int = 200) -> Batch:
    pixels = torch.from_numpy(digits("query").take(range(count)).tensors)
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3))
    return Batch(pixels, pixels + SIGMA * noise, torch.zeros(count, dtype=torch.long))


def test_at_first_all_of_the_noise_is_left_and_embeddings_count_at_the_end_alone(
    shipped: EmbeddingModel,
) -> None:
    network = denoised(shipped.network, (1, 8, 8), 3).eval()
    objective, asked = Denoising(denoising(SIGMA, 200)), batch()

    early, late = (objective.of(network, asked, share).item() for share in (0.74, 0.75))

    assert early == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        cosine = (shipped.network(asked.noisy) * shipped.network(asked.pixels)).sum(1)
    assert late - early == pytest.approx(float((1 - cosine).mean()), rel=1e-4)


def test_a_trained_denoiser_takes_most_of_the_noise_away(shipped: EmbeddingModel, tmp_path: Path) -> None:
    recipe = replace(denoising(SIGMA, 300), epochs=8, width=6)

    model = train(digits("train").take(range(300)), recipe, tmp_path, name="d", command="c", given=shipped)

    asked = batch()
    left = Denoising(recipe).of(model.network, asked, 0.0).item()
    # .4 was seen; the mean of all pixels in place of every one would leave 2.3.
    assert left < 0.6
