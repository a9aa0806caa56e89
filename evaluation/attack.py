"""A white-box attack on the smoothed retriever: projected gradient over many noise draws."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from evaluation.workbench import held_out
from index import Snapshot
from models import EmbeddingModel
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever


def perturb(
    model: EmbeddingModel,
    snapshot: Snapshot,
    image: NDArray[np.float32],
    label: str,
    *,
    sigma: float,
    radius: float,
    steps: int = 20,
    draws: int = 64,
    seed: int = 0,
    decoded: Callable[[torch.Tensor], torch.Tensor] = lambda pixels: pixels,
) -> NDArray[np.float32]:
    """The `image` (C, H, W) moved by at most `radius` (l2), inside [0, 1], so that NN(g) should lose `label`.

    Each step draws fresh noise and climbs the gradient of max_b s_b - max_a s_a, s_i = <g, r_i> - ||r_i||²/2,
    a the items of `label` and b the others; the attacker knows the model, σ and the gallery, not the noise.
    The `image` may be that of a file, of any shape: `decoded` makes it the model's input.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = torch.from_numpy(image)
    vectors = torch.from_numpy(snapshot.vectors)
    ours = torch.from_numpy(snapshot.labels == snapshot.label_names.index(label))
    delta = torch.zeros_like(clean)
    for _ in range(steps):
        delta.requires_grad_(True)
        seen = decoded(clean + delta)
        noise = sigma * torch.randn((draws, *seen.shape), generator=generator)
        mean = model.network(seen + noise).mean(dim=0)
        mean = functional.pad(mean, (0, vectors.shape[1] - len(mean)))  # a 0 for blended vectors
        scores = vectors @ mean - (vectors**2).sum(dim=1) / 2
        loss = scores[~ours].max() - scores[ours].max()
        (gradient,) = torch.autograd.grad(loss, delta)
        with torch.no_grad():
            delta = delta + gradient / gradient.norm().clamp_min(1e-12) * (2.5 * radius / steps)
            delta = delta * (radius / delta.norm().clamp_min(1e-12)).clamp(max=1.0)
            delta = (clean + delta).clamp(0, 1) - clean  # no further away: the image itself is in the box
    return (clean + delta).clamp(0, 1).numpy()


def attack(
    data: str,
    retriever: Retriever,
    *,
    queries: int,
    scale: float,
    samples: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> dict[str, Any]:
    """Attack held-out queries at `scale` times their certified label radius; count the changed labels.

    Below scale 1 every change would be a wrong certificate; well above it, an attack that changes nothing
    would say nothing. The moved query is answered as the service would, with noise of its own.
    """
    images = held_out(data, queries).inputs(retriever.model.input_shape)
    options = RetrieveOptions(max_samples=samples)
    attacked = changed = 0
    snapshot = retriever.gallery.snapshot()
    for row in progress(range(len(images))):
        image = images[row]
        before = retriever.retrieve(image, options)
        if before.certificate.radius == 0:
            continue
        moved = perturb(
            retriever.model, snapshot, image, before.neighbor.label,
            sigma=retriever.sigma, radius=scale * before.certificate.radius,
        )  # fmt: skip
        attacked += 1
        changed += retriever.retrieve(moved, options).neighbor.label != before.neighbor.label
    return {
        "queries": len(images),
        "attacked": attacked,
        "changed": changed,
        "scale": scale,
        "samples": samples,
    }
