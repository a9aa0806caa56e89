"""The baselines of `bench.engine`, in a process of their own: plain loops, as research code writes them.

Reads lines `research SAMPLES` or `eager BATCH SAMPLES`, and answers each with the seconds it took.
Nothing of the service is in this process: no allocator settings, torch's own threads.
"""

import sys
import time

import torch
from torch import Tensor

from models import EmbeddingModel
from models.datasets import digits

# The batch of the certification loop that others started from (Cohen et al. 2019).
BATCH = 1000


@torch.inference_mode()
def research(model: EmbeddingModel, image: Tensor, sigma: float, samples: int) -> Tensor:
    """One query: the mean embedding of `image` (C, H, W) under noise, batch after batch."""
    total, left = torch.zeros(model.dimension), samples
    while left > 0:
        size = min(BATCH, left)
        batch = image.repeat((size, 1, 1, 1))
        noise = torch.randn_like(batch) * sigma
        total += model.network(batch + noise).sum(dim=0)
        left -= size
    return total / samples


@torch.inference_mode()
def eager(model: EmbeddingModel, images: Tensor, samples: int) -> None:
    """Bare forward passes over the same batch of images, again and again."""
    for _ in range(samples // len(images)):
        model.network(images)


def main() -> None:
    """Answer line by line."""
    model = EmbeddingModel.load("digits-cnn")
    images = torch.from_numpy(digits("query").tensors)
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "research":
            started = time.perf_counter()
            research(model, images[0], model.manifest.sigma, int(numbers[0]))
        else:
            size, samples = map(int, numbers)
            batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()
            started = time.perf_counter()
            eager(model, batch, samples)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
