"""The losses and what they learn: which embeddings they pull together, and at which rates."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn

from models.training.losses import BETA, Loss, schedule_of
from models.training.recipe import LossName, Recipe, margin_of_the_paper, small

ARCFACE = Recipe(sigma=0.25, dimension=8)
PAPER = margin_of_the_paper(small(0.25))


def embeddings(turn: float) -> torch.Tensor:
    """Of four labels, two each: each label on an axis of its own, `turn` away from it towards the next."""
    axes = torch.eye(8)[[0, 0, 2, 2, 4, 4, 6, 6]]
    away = torch.eye(8)[[1, 3, 3, 5, 5, 7, 7, 1]]
    return nn.functional.normalize(axes + turn * away, dim=1)


TARGETS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def test_the_margin_loss_is_0_where_labels_are_apart_and_grows_where_they_are_not() -> None:
    loss = Loss(PAPER, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        apart, near = loss(embeddings(0.1), TARGETS), loss(embeddings(2.0), TARGETS)

    assert apart.item() == 0
    assert near.item() > 0.1


@pytest.mark.parametrize(
    "recipe",
    [
        ARCFACE,
        replace(PAPER, dimension=8),
        *(replace(ARCFACE, loss=name) for name in get_args(LossName) if name not in ("arcface", "margin")),
    ],
    ids=lambda recipe: recipe.loss,
)
def test_learning_brings_embeddings_of_a_label_together(recipe: Recipe) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.Linear(8, 8)
        loss = Loss(recipe, 4)
        optimizer = loss.optimizer(network, replace(recipe, learning_rate=0.02))
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            found = loss(network(embeddings(2.0)), TARGETS)
            found.backward()
            optimizer.step()
            losses.append(found.item())

    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_the_border_of_the_margin_loss_is_learnt_at_a_rate_of_its_own() -> None:
    network = nn.Linear(3, 3)
    loss = Loss(PAPER, 4)

    network_group, border = loss.optimizer(network, PAPER).param_groups

    assert network_group["lr"] == 1e-5
    assert border["lr"] == 5e-4
    (beta,) = border["params"]
    assert torch.equal(beta, torch.full((4,), BETA))
    assert (PAPER.margin, PAPER.epochs, PAPER.dimension) == (0.2, 100, 128)


def test_the_papers_rates_fall_at_30_55_and_75_of_100_epochs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = schedule_of(PAPER, optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    assert rates == pytest.approx([1.0] * 30 + [0.3] * 25 + [0.09] * 20 + [0.027] * 25)
