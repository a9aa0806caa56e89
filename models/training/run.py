"""All that changes in a training, one epoch at a time: weights, optimiser, learning rates, random numbers."""

import time
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.networks.embedding import EmbeddingNetwork
from models.training.augmentation import Redrawing
from models.training.denoising import Denoising
from models.training.inputs import pixels
from models.training.losses import Loss, schedule_of
from models.training.objective import Batch, Objective
from models.training.recipe import Recipe

# Into how many steps of learning rates a training that is limited by time is divided.
TICKS = 10_000


class Run:
    """A training of `network` on `inputs` (N, C, H, W) with `targets` (N,), all on one device.

    Inputs are as `models.training.inputs` keeps them; what of the network learns is what takes gradients.

    It lasts for the epochs of `recipe`, or for `minutes`, in which case the learning rates follow the clock.
    With `redrawing`, its variants stand in for the inputs.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: EmbeddingNetwork,
        inputs: Tensor,
        targets: Tensor,
        redrawing: Redrawing | None,
        minutes: float | None,
    ) -> None:
        self._recipe, self._inputs, self._targets, self._redrawing = recipe, inputs, targets, redrawing
        self._seconds = None if minutes is None else 60 * minutes
        self._network = network
        self._loss: Objective = (
            Denoising(recipe) if recipe.learns == "denoiser" else Loss(recipe, int(targets.max()) + 1)
        )
        self._loss.to(inputs.device)
        self._optimizer = self._loss.optimizer(network, recipe)
        batches = -(-len(inputs) // recipe.batch)
        self._steps = recipe.epochs * batches if minutes is None else TICKS
        self._schedule = schedule_of(recipe, self._optimizer, self._steps)
        self._averaged = (
            AveragedModel(network, multi_avg_fn=self._average, use_buffers=True) if recipe.averaging else None
        )
        self._began = time.monotonic()
        self._batches = 0
        self.epochs = 0

    @property
    def share(self) -> float:
        """How much of the training is done, from 0 to 1."""
        if self._seconds is None:
            return self.epochs / self._recipe.epochs
        return min(1.0, self._elapsed() / self._seconds)

    @property
    def result(self) -> EmbeddingNetwork:
        """The network as it is now, or the average of its weights."""
        return cast(EmbeddingNetwork, self._averaged.module) if self._averaged is not None else self._network

    def epoch(self) -> float:
        """Go through the data once, or as long as there is time; returns the mean loss."""
        losses: list[Tensor] = []
        order = torch.randperm(len(self._inputs), device=self._inputs.device)
        for rows in torch.split(order, self._recipe.batch):
            batch = self._batch(rows.repeat(self._recipe.copies))
            loss = self._loss.of(self._network, batch, self._share(len(losses)))
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._batches += 1
            if self._averaged is not None:
                self._averaged.update_parameters(self._network)
            self._follow()
            losses.append(loss.detach())
            if self._seconds is not None and self.share == 1:
                break
        self.epochs += 1
        return float(torch.stack(losses).mean())

    def _share(self, batches: int) -> float:
        """How much of the training is done, `batches` of this epoch included."""
        if self._seconds is not None:
            return self.share
        return self.share + batches * self._recipe.batch / len(self._inputs) / self._recipe.epochs

    def _batch(self, rows: Tensor) -> Batch:
        """The images at `rows`, with noise and without."""
        images = pixels(self._inputs[rows]) if self._redrawing is None else self._redrawing(rows)
        noisy = images + self._recipe.noise * self._recipe.sigma * torch.randn_like(images)
        if self._recipe.backbone == "residual":
            noisy = noisy.contiguous(memory_format=torch.channels_last)
        return Batch(images, noisy, self._targets[rows])

    def _follow(self) -> None:
        """Set the learning rates for the next batch."""
        if self._seconds is None:
            self._schedule.step()
            return
        while self._schedule.last_epoch < min(TICKS - 1, int(self.share * TICKS)):
            self._schedule.step()

    def _average(self, kept: Any, new: Any, count: Any) -> None:
        # The first weights are random: an average that began with full weight would stay near them for long.
        decay = min(self._recipe.averaging, self._batches / (self._batches + 10))
        get_ema_multi_avg_fn(decay)(kept, new, count)  # type: ignore[no-untyped-call]

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def state(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        device = self._inputs.device
        return {
            "network": self._network.state_dict(),
            "loss": self._loss.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "averaged": self._averaged.state_dict() if self._averaged is not None else None,
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "epochs": self.epochs,
            "batches": self._batches,
            "elapsed": self._elapsed(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned, exactly."""
        self._network.load_state_dict(state["network"])
        self._loss.load_state_dict(state["loss"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        torch.set_rng_state(state["random"])
        if state["random_gpu"] is not None and self._inputs.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_gpu"], self._inputs.device)
        self.epochs, self._batches = state["epochs"], state["batches"]
        self._began = time.monotonic() - state["elapsed"]
