"""A white-box adversary of the smoothed retriever: projected gradient with momentum, over noise draws."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from certify import Claim
from index import Snapshot
from models import EmbeddingModel

MOMENTUM = 0.9
# A run goes further than its steps add up to, as the ball bends them back.
REACH = 2.5
# Draws by which the runs of one attack are compared, in those of a step.
COMPARED = 4
# Inputs for which threads wait for each other longer than they work.
SMALL_PIXELS = 64 * 64


@dataclass(frozen=True)
class Effort:
    """How hard an attack tries: `restarts` runs of `steps`, each step on so many noise `draws`."""

    restarts: int = 2
    steps: int = 20
    draws: int = 64


@contextmanager
def threads_for(shape: tuple[int, int, int]) -> Iterator[None]:
    """One thread for small inputs of `shape` (C, H, W), and as many as before afterwards."""
    threads = torch.get_num_threads()
    if shape[1] * shape[2] <= SMALL_PIXELS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Adversary:
    """Knows the network, σ and the gallery; not the noise. Draws its own from `seed`.

    `seen` makes what is attacked, like the pixels of a file, the model's input. Without it, it works on a GPU
    if there is one.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        snapshot: Snapshot,
        sigma: float,
        seed: int = 0,
        seen: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._device = torch.device("cuda" if seen is None and torch.cuda.is_available() else "cpu")
        self._network = copy.deepcopy(model.network).to(self._device)
        self._sigma, self._seen = sigma, seen
        self._labels = torch.from_numpy(np.asarray(snapshot.labels)).to(self._device)
        self._vectors = torch.from_numpy(np.asarray(snapshot.vectors)).to(self._device)
        self._halves = (self._vectors**2).sum(dim=1) / 2
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def perturb(
        self,
        image: NDArray[np.float32],
        answer: int,
        claim: Claim,
        radius: float,
        effort: Effort,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The `image` (C, H, W), moved by at most `radius` (l2) inside [0, 1], so that NN(g) should change.

        Each step climbs the gradient of max_b s_b - max_a s_a, s_i = <g, r_i> - ||r_i||²/2, over fresh noise:
        a is row `answer`, or for `label` any item of its label, and b the others. The first run begins at
        the image moved by `start`, the others on random sides of it; the best of them is returned.
        """
        ours = self._labels == self._labels[answer]
        if claim == "item":
            ours = torch.arange(len(self._labels), device=self._device) == answer
        clean = torch.from_numpy(image).to(self._device)

        def loss(delta: torch.Tensor, draws: int) -> torch.Tensor:
            moved = clean + delta if self._seen is None else self._seen(clean + delta)
            noise = self._sigma * self._drawn((draws, *moved.shape))
            mean = self._network(moved + noise).mean(dim=0)
            mean = functional.pad(mean, (0, self._vectors.shape[1] - len(mean)))  # a 0 for blended vectors
            scores = self._vectors @ mean - self._halves
            return scores[~ours].max() - scores[ours].max()

        def inside(delta: torch.Tensor) -> torch.Tensor:
            delta = delta * (radius / delta.norm().clamp_min(1e-12)).clamp(max=1.0)
            # No further away: the image itself is in the box.
            return (clean + delta).clamp(0, 1) - clean

        found = []
        for run in range(effort.restarts):
            if run:
                side = self._drawn(clean.shape)
                first = inside(side * (radius / 2 / side.norm()))
            else:
                first = (
                    torch.zeros_like(clean)
                    if start is None
                    else inside(torch.from_numpy(start).to(self._device))
                )
            found.append(_climbed(lambda delta: loss(delta, effort.draws), inside, first, radius, effort))
        if len(found) > 1:
            with torch.no_grad():
                found.sort(key=lambda delta: float(loss(delta, COMPARED * effort.draws)))
        moved: NDArray[np.float32] = (clean + found[-1]).clamp(0, 1).cpu().numpy()
        return moved

    def _drawn(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator, device=self._device)


def _climbed(
    loss: Callable[[torch.Tensor], torch.Tensor],
    inside: Callable[[torch.Tensor], torch.Tensor],
    delta: torch.Tensor,
    radius: float,
    effort: Effort,
) -> torch.Tensor:
    """Where a run ends that begins at `delta`."""
    velocity = torch.zeros_like(delta)
    for _ in range(effort.steps):
        (gradient,) = torch.autograd.grad(loss(delta.requires_grad_(True)), delta)
        with torch.no_grad():
            velocity = MOMENTUM * velocity + gradient / gradient.norm().clamp_min(1e-12)
            step = velocity / velocity.norm().clamp_min(1e-12) * (REACH * radius / effort.steps)
            delta = inside(delta.detach() + step)
    return delta.detach()
