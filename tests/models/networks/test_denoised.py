"""A denoiser and the network behind it: one function, in the space of that network."""

import pytest
import torch

from models.networks.convolutional import ConvolutionalEmbedding
from models.networks.denoised import (
    DenoisedOrthantEmbedding,
    DenoisedSphereEmbedding,
    Denoiser,
    denoised,
)
from models.networks.embedding import EmbeddingNetwork, SphereEmbedding


class Flat(SphereEmbedding):
    """Pixels as they are, one after the other."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)


def trained(shape: tuple[int, int, int], backbone: EmbeddingNetwork) -> EmbeddingNetwork:
    """As if: the last layer of the denoiser does something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = denoised(backbone, shape, 4)
        torch.nn.init.normal_(network.denoiser.change.weight)
    return network.eval()


def pixels(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def test_an_untrained_denoiser_changes_nothing() -> None:
    images = pixels(3, 1, 8, 8) - 0.5
    assert torch.equal(Denoiser((1, 8, 8), 4).eval()(images), images)
    assert torch.equal(denoised(Flat(), (1, 8, 8), 4).eval()(images), Flat()(images))


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 9, 15), (3, 32, 48)])
def test_pictures_of_any_size_come_out_as_large_as_they_were(shape: tuple[int, int, int]) -> None:
    network = trained(shape, Flat())
    images = pixels(2, *shape)
    clean = network.get_submodule("denoiser")(images)
    assert clean.shape == images.shape
    assert not torch.allclose(clean, images)
    assert torch.equal(network(images), Flat()(clean))


def test_the_space_is_that_of_the_network_behind() -> None:
    shape = (1, 8, 8)
    orthant = trained(shape, ConvolutionalEmbedding(shape, 0.3, 0.4, 4, 16).eval())
    sphere = trained(shape, Flat())
    assert isinstance(orthant, DenoisedOrthantEmbedding)
    assert isinstance(sphere, DenoisedSphereEmbedding)
    assert orthant.nonnegative
    assert not sphere.nonnegative
    images = 9 * pixels(20, 1, 8, 8) - 4.5
    assert orthant(images).min() >= 0
    assert sphere(images).min() < 0


def test_every_weight_of_the_denoiser_takes_part() -> None:
    network = trained((3, 16, 16), Flat()).train()
    (network(pixels(4, 3, 16, 16)) * pixels(4, 768)).sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_at_the_usual_width_it_is_small() -> None:
    count = sum(value.numel() for value in Denoiser((3, 48, 48), 24).parameters())
    assert 180_000 < count < 200_000
