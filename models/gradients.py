"""Which way a query has to go for another answer: the gradient of a margin of the smoothed model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.networks.embedding import EmbeddingNetwork

Pixels = NDArray[np.float32]


@contextmanager
def one_thread() -> Iterator[None]:
    """The calling thread does all of its work itself in here: small inputs are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SmoothedMargin:
    """By how much the best of `others` is ahead of the best of `ours` at an input: above 0 it answers.

    max_b s_b - max_a s_a for s_i = <g, r_i> - ||r_i||²/2, g being the mean of h over noisy copies, and r_i
    the vectors `ours` (k, d) and `others` (m, d), k and m >= 1. Vectors may have one number more than
    embeddings, which have a 0 there (blended vectors). The noise is drawn from `seed`, and is never that of
    a certificate, which nobody may foresee. All of it is computed where the `network` is.

    `seen` makes what is moved, like the pixels of a file, the model's input.
    """

    def __init__(
        self,
        network: EmbeddingNetwork,
        sigma: float,
        ours: NDArray[np.floating],
        others: NDArray[np.floating],
        seed: int,
        seen: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._network, self._sigma, self._seen = network, sigma, seen or (lambda image: image)
        self._device = next(network.parameters()).device
        self._ours, self._others = (
            (vectors, (vectors**2).sum(dim=1) / 2)
            for vectors in (self._there(each.astype(np.float32)) for each in (ours, others))
        )
        self._seed = seed
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def value(self, image: Pixels, draws: int) -> float:
        """The margin at `image`, over so many fresh `draws` of noise."""
        with torch.no_grad():
            return float(self._margin(self._there(image), draws, self._generator))

    def gradient(self, image: Pixels, draws: int) -> Pixels:
        """That of the margin at `image`, of the same shape, over so many fresh `draws` of noise."""
        return self._tangent(image, draws, self._generator)[1]

    def tangent(self, image: Pixels, draws: int) -> tuple[float, Pixels]:
        """The margin at `image` and its gradient, over the first `draws` of noise: the same at each call."""
        return self._tangent(image, draws, torch.Generator(self._device).manual_seed(self._seed))

    def _tangent(self, image: Pixels, draws: int, generator: torch.Generator) -> tuple[float, Pixels]:
        point = self._there(image).requires_grad_(True)
        margin = self._margin(point, draws, generator)
        (gradient,) = torch.autograd.grad(margin, point)
        return margin.item(), gradient.cpu().numpy()

    def _there(self, array: Pixels) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def _margin(self, point: torch.Tensor, draws: int, generator: torch.Generator) -> torch.Tensor:
        image = self._seen(point)
        noise = self._sigma * torch.randn((draws, *image.shape), generator=generator, device=self._device)
        mean = self._network(image + noise).mean(dim=0)
        mean = functional.pad(mean, (0, self._ours[0].shape[1] - len(mean)))
        ours, others = ((vectors @ mean - halves).max() for vectors, halves in (self._ours, self._others))
        return others - ours
