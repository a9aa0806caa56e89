"""The Monte Carlo samples of a smoothed model: h(x + σz) for keyed noise z, in chunks."""

import math
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from models.memory import keep_freed_memory
from models.model import EmbeddingModel
from models.noise import CHUNK, KeyedNoise, Purpose, grid_step, input_digest, on_grid


class SmoothedModel:
    """g(x) = E h(x + N(0, σ²I)), by its samples.

    Sample i of an input belongs to chunk i // CHUNK. A chunk is one forward pass of fixed shape on one
    thread, so that a sample is the same number whatever was drawn before, beside or after it, and on
    however many `threads` (default: one a core): they work on different chunks, which scales better than
    sharing one.
    """

    def __init__(
        self, model: EmbeddingModel, sigma: float, secret: bytes, threads: int | None = None
    ) -> None:
        keep_freed_memory()
        self.model = model
        self.sigma = sigma
        self._noise = KeyedNoise(secret, model.manifest.digest, sigma)
        self._workers = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(
            self._workers, "sampling", initializer=torch.set_num_threads, initargs=(1,)
        )

    @property
    def blur(self) -> float:
        """How much nearer two inputs may be (l2) than the grid points at which they are sampled.

        Each is moved by at most half a step in every pixel.
        """
        return grid_step(self.sigma) * math.sqrt(math.prod(self.model.input_shape))

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown(cancel_futures=True)

    def sample(
        self, image: NDArray[np.float32], first: int, last: int, purpose: Purpose = "query"
    ) -> NDArray[np.float32]:
        """Samples ((last - first) * CHUNK, d) of chunks `first` to `last` - 1 for `image` (C, H, W).

        The noise is added to the pixels as they are and never clipped: the certificate is about that sum.
        A caller has at most two chunks a worker in line, so a short query is not stuck behind a long one.
        """
        digest = input_digest(image)
        centre = on_grid(image, self.sigma)
        samples = np.empty(((last - first) * CHUNK, self.model.dimension), np.float32)

        def draw(number: int) -> None:
            noisy = np.empty((CHUNK, *image.shape), np.float32)
            self._noise.fill(noisy, purpose, digest, number)
            noisy += centre
            start = (number - first) * CHUNK
            samples[start : start + CHUNK] = self.model(noisy)

        line: deque[Future[None]] = deque()
        try:
            for number in range(first, last):
                if len(line) == 2 * self._workers:
                    line.popleft().result()
                line.append(self._pool.submit(draw, number))
            while line:
                line.popleft().result()
        finally:
            for future in line:
                future.cancel()
        return samples

    def mean(self, image: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """The gallery vector (d,) of `image`: the mean of `count` samples, rounded up to whole chunks."""
        samples = self.sample(image, 0, chunks(count), "gallery")
        mean: NDArray[np.float64] = samples.mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)


def chunks(samples: int) -> int:
    """How many chunks hold `samples` samples."""
    return -(-samples // CHUNK)
