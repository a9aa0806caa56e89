"""What is held out of a training, and how its score compares networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.datasets import ImageSet, digits, emoji
from models.training import split
from models.training.validation import score

LABELS = torch.arange(10)


class Direction(nn.Module):
    """The embedding of an image is the image, made of length one."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(pixels.flatten(1), dim=1)


def axes(length: float) -> torch.Tensor:
    """Ten images (10, 1, 2, 5), each bright in a pixel of its own."""
    return length * torch.eye(10).reshape(10, 1, 2, 5)


def test_far_from_every_border_the_score_is_the_best_there_is() -> None:
    found = score(Direction(), (axes(9.0), LABELS), (axes(9.0), LABELS), 0.25)

    assert found.recall == 1
    # All of 32 votes: half a vote is taken off the share.
    assert found.radius == pytest.approx(0.25 * 2.154, rel=1e-3)


def test_wrong_answers_have_no_radius() -> None:
    found = score(Direction(), (axes(9.0), LABELS), (axes(9.0), LABELS.roll(1)), 0.25)

    assert (found.recall, found.radius) == (0, 0)


def test_more_noise_leaves_a_smaller_share_and_the_noise_is_the_same_every_time() -> None:
    gallery, queries = (axes(1.0), LABELS), (axes(1.0), LABELS)
    calm, loud = (score(Direction(), gallery, queries, sigma) for sigma in (0.1, 1.0))

    assert calm.recall == 1 > loud.recall
    assert loud.radius / 1.0 < calm.radius / 0.1
    torch.rand(5)
    assert score(Direction(), gallery, queries, 1.0) == loud


def test_a_network_in_training_is_judged_as_it_will_serve_and_goes_on_training() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), Direction()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    score(network, (axes(1.0), LABELS), (axes(1.0), LABELS), 0.5)

    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_of_designs_the_rarest_is_held_out_as_a_whole() -> None:
    kept, queries = split(emoji("train"))

    assert {more["design"] for more in queries.metadata} == {"fxemoji"}
    assert "fxemoji" not in {more["design"] for more in kept.metadata}
    assert set(queries.labels) <= set(kept.labels)
    assert len(queries) > 300


def test_without_designs_the_last_image_of_each_label_that_has_three_is_held_out() -> None:
    data = ImageSet(np.zeros((6, 1, 2, 2), np.uint8), tuple("aababb"), tuple("123456"))
    data = replace(data, labels=("a", "a", "b", "a", "b", "c"))

    kept, queries = split(data)

    assert (kept.ids, queries.ids) == (("1", "2", "3", "5", "6"), ("4",))
    assert len(split(digits("train"))[1]) == 10
