"""The residual network: the space of its embeddings, its size, and where the pixels are standardised."""

import pytest
import torch
from safetensors.torch import save

from models.networks.residual import ResidualEmbedding

MEAN, STD = (0.7, 0.6, 0.5), (0.3, 0.2, 0.4)


def network(size: int = 32, width: int = 8, dimension: int = 16) -> ResidualEmbedding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return ResidualEmbedding((3, size, size), MEAN, STD, width, dimension).eval()


def pixels(count: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("size", [32, 33, 48, 64])
def test_embeddings_are_of_norm_one_in_the_orthant(size: int) -> None:
    noisy = pixels(5, size) + 2 * torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(6))

    embeddings = network(size)(noisy)

    assert embeddings.shape == (5, 16)
    assert embeddings.min() > 0
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(5), atol=1e-6)


def test_an_embedding_is_the_floored_and_normalised_scores() -> None:
    found = network()

    scores = found.scores(pixels(4))

    floored = scores.clamp(min=0) + 1e-4
    assert torch.allclose(found(pixels(4)), floored / floored.norm(dim=1, keepdim=True), atol=1e-6)
    assert (scores < 0).any()
    assert (scores > 0).any()


def test_each_channel_is_standardised_with_its_own_mean_and_deviation() -> None:
    plain = ResidualEmbedding((3, 32, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 8, 16).eval()
    plain.load_state_dict(network().state_dict())
    standard = (pixels(3) - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)

    assert torch.allclose(network().scores(pixels(3)), plain.scores(standard), atol=1e-5)


def test_the_weights_hold_no_mean_or_deviation_and_fit_the_repository() -> None:
    state = network(width=48, dimension=128).state_dict()

    assert not {"mean", "std"} & set(state)
    assert len(save(state)) < 8 * 2**20


def test_every_weight_takes_part() -> None:
    found = network().train()

    found.scores(pixels(8)).square().sum().backward()

    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in found.parameters())


def test_features_may_run_in_another_precision() -> None:
    found = network()
    full = found(pixels(4))
    found.features.to(torch.bfloat16)

    scores = found.scores(pixels(4))

    assert scores.dtype == torch.float32
    assert (found(pixels(4)) - full).norm(dim=1).max() < 0.1


def test_a_mean_for_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="3 channels need as many means and deviations, got 1 and 3"):
        ResidualEmbedding((3, 32, 32), (0.5,), STD, 8, 16)
