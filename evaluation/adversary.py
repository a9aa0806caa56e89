"""A white-box adversary of a whole gallery: `service.retrieval.adversary`, against every item of it."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from certify import Claim
from index import Snapshot
from models import EmbeddingModel, SmoothedMargin, one_thread
from service.retrieval.adversary import Effort, perturbed

# Inputs for which threads wait for each other longer than they work.
SMALL_PIXELS = 64 * 64


def threads_for(shape: tuple[int, int, int]) -> AbstractContextManager[None]:
    """One thread for small inputs of `shape` (C, H, W), else as many as there are."""
    return one_thread() if shape[1] * shape[2] <= SMALL_PIXELS else nullcontext()


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
        self._network, self._sigma, self._seen = model.network, sigma, seen
        if seen is None and torch.cuda.is_available():
            self._network = copy.deepcopy(model.network).to("cuda")
        self._labels, self._vectors = snapshot.labels, snapshot.vectors
        self._seeds = np.random.default_rng(seed)

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

        Away from row `answer`, or for `label` from all items of its label, towards any other. The first run
        begins at the image moved by `start`, as in `service.retrieval.adversary.perturbed`.
        """
        ours = self._labels == self._labels[answer]
        if claim == "item":
            ours = np.arange(len(self._labels)) == answer
        margin = self._margin(ours, ~ours)
        return perturbed(margin, image, radius, effort, seed=self._seed(), start=start)

    def towards(self, answer: int, label: int | None = None) -> SmoothedMargin:
        """By how much items of `label`, or of any other label, are ahead of those of row `answer`'s."""
        ours = self._labels == self._labels[answer]
        return self._margin(ours, ~ours if label is None else self._labels == label)

    def _margin(self, ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> SmoothedMargin:
        ahead, behind = self._vectors[ours], self._vectors[others]
        return SmoothedMargin(self._network, self._sigma, ahead, behind, self._seed(), self._seen)

    def _seed(self) -> int:
        return int(self._seeds.integers(2**31))
