"""How well a smoothed network finds the label of images that training does not see, and how surely."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.datasets import ImageSet
from models.networks.embedding import EmbeddingNetwork
from models.training.inputs import pixels

# Noisy copies of a gallery image, of a query, and images in a forward pass.
GALLERY_COPIES, QUERY_COPIES, BATCH = 4, 32, 1024
# A validation comes so often in a training, which ends when so many in turn bring nothing better.
VALIDATIONS, STALE_AFTER = 10, 3


@dataclass(frozen=True)
class Score:
    """`recall`: the share of queries that find their label; `radius`: a certified radius, in the mean.

    The radius is what the votes of the noisy copies would certify if their shares were exact: it is a measure
    to compare epochs by, not a certificate. 0 for a query that finds another label.
    """

    recall: float
    radius: float


def split(data: ImageSet) -> tuple[ImageSet, ImageSet]:
    """What is trained on, and queries that are held out of it, of labels that are trained on.

    Where all metadata name a `design`, the rarest design is held out, as a whole: a stranger asks. Else the
    last image of each label that has three.
    """
    if data.metadata and all("design" in more for more in data.metadata):
        designs = Counter(more["design"] for more in data.metadata)
        rarest = min(designs, key=lambda name: (designs[name], name))
        out = np.array([more["design"] == rarest for more in data.metadata])
    else:
        last = {label: row for row, label in enumerate(data.labels)}
        count = Counter(data.labels)
        out = np.array([row == last[label] and count[label] >= 3 for row, label in enumerate(data.labels)])
    kept = data.take(np.flatnonzero(~out))
    return kept, data.take(np.flatnonzero(out & np.isin(data.labels, kept.labels)))


@torch.inference_mode()
def score(
    network: nn.Module,
    gallery: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    sigma: float,
) -> Score:
    """The score of `queries` against `gallery`: images (N, C, H, W) and labels (N,) each, as numbers.

    The noise is the same every time. `network` is in evaluation mode during the call. Images are as
    `models.training.inputs` keeps them.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    vectors = _noisy(network, gallery[0], GALLERY_COPIES, sigma, seed=0).mean(1)
    samples = _noisy(network, queries[0], QUERY_COPIES, sigma, seed=1)
    for module in training:
        module.training = True
    nearest = torch.stack([torch.cdist(part, vectors).argmin(1) for part in samples])
    shares = (gallery[1][nearest] == queries[1][:, None]).float().mean(1)
    found = gallery[1][torch.cdist(samples.mean(1), vectors).argmin(1)] == queries[1]
    surely = shares.clamp(0.5, 1 - 0.5 / QUERY_COPIES)
    return Score(float(found.float().mean()), sigma * float(torch.special.ndtri(surely).mean()))


def _noisy(network: nn.Module, images: Tensor, copies: int, sigma: float, seed: int) -> Tensor:
    """Embeddings (N, copies, d) of `images` with noise."""
    generator = torch.Generator(images.device).manual_seed(seed)
    parts = []
    for part in torch.split(images, max(1, BATCH // copies)):
        repeated = pixels(part).repeat_interleave(copies, 0)
        noise = torch.randn(repeated.shape, generator=generator, device=images.device)
        parts.append(network(repeated + sigma * noise).float().unflatten(0, (-1, copies)))
    return torch.cat(parts)


class Judge:
    """Keeps the best weights by their score on queries; `gallery` and `queries` are images and labels."""

    def __init__(self, gallery: tuple[Tensor, Tensor], queries: tuple[Tensor, Tensor], sigma: float) -> None:
        self._gallery, self._queries, self._sigma = gallery, queries, sigma
        self._weights: dict[str, Tensor] = {}
        self._done = self._since_best = 0
        self.best: Score | None = None
        self.latest: Score | None = None

    @property
    def hopeless(self) -> bool:
        """Whether the training gets no better."""
        return self._since_best >= STALE_AFTER

    def look(self, network: EmbeddingNetwork, share: float) -> None:
        """Judge `network` if it is time: `share` of the training is done."""
        if share * VALIDATIONS < self._done + 1:
            return
        self._done = int(share * VALIDATIONS)
        self.latest = score(network, self._gallery, self._queries, self._sigma)
        self._since_best += 1
        if self.best is None or self.latest.radius > self.best.radius:
            self.best, self._since_best = self.latest, 0
            self._weights = {name: value.clone() for name, value in network.state_dict().items()}

    def best_network(self, network: EmbeddingNetwork) -> EmbeddingNetwork:
        """`network` with the best weights."""
        network.load_state_dict(self._weights)
        return network

    def state(self) -> dict[str, Any]:
        """What it has seen and kept, for a checkpoint."""
        return {
            "weights": self._weights,
            "done": self._done,
            "since_best": self._since_best,
            "best": asdict(self.best) if self.best else None,
            "latest": asdict(self.latest) if self.latest else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._weights, self._done, self._since_best = state["weights"], state["done"], state["since_best"]
        self.best, self.latest = (
            Score(**state[name]) if state[name] else None for name in ("best", "latest")
        )
