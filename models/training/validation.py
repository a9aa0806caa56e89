"""How well a smoothed network finds the label of images that training does not see, and how surely."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.datasets import ImageSet

# Noisy copies of a gallery image, of a query, and images in a forward pass.
GALLERY_COPIES, QUERY_COPIES, BATCH = 4, 32, 1024


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

    Where the metadata name a `design`, the rarest design is held out, as a whole: a stranger asks. Else the
    last image of each label that has three.
    """
    designs = Counter(more["design"] for more in data.metadata)
    if designs:
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

    The noise is the same every time. `network` is in evaluation mode during the call.
    """
    training = network.training
    network.eval()
    vectors = _noisy(network, gallery[0], GALLERY_COPIES, sigma, seed=0).mean(1)
    samples = _noisy(network, queries[0], QUERY_COPIES, sigma, seed=1)
    network.train(training)
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
        repeated = part.repeat_interleave(copies, 0)
        noise = torch.randn(repeated.shape, generator=generator, device=images.device)
        parts.append(network(repeated + sigma * noise).float().unflatten(0, (-1, copies)))
    return torch.cat(parts)
