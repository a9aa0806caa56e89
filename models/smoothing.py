"""The Monte Carlo samples of a smoothed model: h(x + σz) for keyed noise z, in chunks."""

import threading

import numpy as np
from numpy.typing import NDArray

from models.model import EmbeddingModel
from models.noise import CHUNK, KeyedNoise, Purpose, input_digest


class SmoothedModel:
    """g(x) = E h(x + N(0, σ²I)), by its samples.

    Sample i of an input belongs to chunk i // CHUNK. A chunk is one forward pass of fixed shape, so that a
    sample is the same number whatever was drawn before, beside or after it.
    """

    def __init__(self, model: EmbeddingModel, sigma: float, secret: bytes) -> None:
        self.model = model
        self.sigma = sigma
        self._noise = KeyedNoise(secret, model.manifest.digest, sigma)
        self._pixels = np.empty((CHUNK, *model.input_shape), np.float32)
        self._lock = threading.Lock()

    def sample(
        self, image: NDArray[np.float32], first: int, last: int, purpose: Purpose = "query"
    ) -> NDArray[np.float32]:
        """Samples ((last - first) * CHUNK, d) of chunks `first` to `last` - 1 for `image` (C, H, W).

        The noise is added to the pixels as they are and never clipped: the certificate is about that sum.
        Threads take turns chunk by chunk, so a short query is not stuck behind a long one.
        """
        digest = input_digest(image)
        samples = np.empty(((last - first) * CHUNK, self.model.dimension), np.float32)
        for number in range(first, last):
            start = (number - first) * CHUNK
            with self._lock:
                self._noise.fill(self._pixels, purpose, digest, number)
                self._pixels *= np.float32(self.sigma)
                self._pixels += image
                samples[start : start + CHUNK] = self.model(self._pixels)
        return samples

    def mean(self, image: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """The gallery vector (d,) of `image`: the mean of `count` samples, rounded up to whole chunks."""
        samples = self.sample(image, 0, chunks(count), "gallery")
        mean: NDArray[np.float64] = samples.mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)


def chunks(samples: int) -> int:
    """How many chunks hold `samples` samples."""
    return -(-samples // CHUNK)
