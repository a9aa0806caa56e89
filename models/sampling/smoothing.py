"""The Monte Carlo samples of a smoothed model: h(x + σz) for keyed noise z, in chunks."""

import math
import os
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from models.model import EmbeddingModel
from models.noise import KeyedNoise, Purpose, chunk_size, grid_step, noise_distance
from models.passes.calibration import Calibration
from models.passes.gpu import gpus
from models.passes.variants import ForwardPass
from models.sampling.engine import Engine
from models.sampling.here import WORKERS_A_GPU, sampler_here
from models.sampling.samplers import Sampler, SamplersElsewhere, on_own_core

# Samples a second of a worker, where nothing was measured.
GUESSED_RATE = 10_000.0


class SmoothedModel:
    """g(x) = E h(x + N(0, σ²I)), by its samples, which the `engine` draws.

    h is the network as `calibration` says it is run. Sample i of an input belongs to number i // `chunk`, and
    is the same number whatever was drawn before, beside or after it, on however many `workers` (default: one
    a core): they work on different batches, which scales better than sharing one. On GPUs there are always
    `WORKERS_A_GPU` for each. Samplers `elsewhere`, which are of the same calibration, draw in their place.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        sigma: float,
        secret: bytes,
        calibration: Calibration,
        *,
        workers: int | None = None,
        elsewhere: SamplersElsewhere | None = None,
    ) -> None:
        self.model = model
        self.sigma = sigma
        self.calibration = calibration
        self._noise = KeyedNoise(secret, self.digest, sigma)
        self._gpus = gpus() if calibration.on_gpu and elsewhere is None else ()
        self._workers = WORKERS_A_GPU * len(self._gpus) or workers or len(os.sched_getaffinity(0))
        if elsewhere is not None:
            self._workers = elsewhere.workers
        self.engine = Engine(
            self._sampler if elsewhere is None else elsewhere.build,
            sigma=sigma,
            input_shape=model.input_shape,
            dimension=model.dimension,
            batch=calibration.batch,
            workers=self._workers,
            # Those of a GPU share what was measured.
            seconds_a_sample=(WORKERS_A_GPU if self._gpus else 1)
            / (calibration.samples_per_second or GUESSED_RATE),
            batches=1 if elsewhere is None else elsewhere.batches,
        )

    @property
    def digest(self) -> str:
        """`sha256:...` of h, the way in which it is computed included."""
        return self.calibration.digest

    @property
    def chunk(self) -> int:
        """Samples in a chunk."""
        return chunk_size(self.model.input_shape)

    def chunks(self, samples: int) -> int:
        """How many chunks hold `samples` samples."""
        return -(-samples // self.chunk)

    @property
    def blur(self) -> float:
        """How much nearer two inputs may be (l2) than the grid points at which they are sampled.

        Each is moved by at most half a step in every pixel, be it given in float32 or in float64.
        """
        return grid_step(self.sigma) * math.sqrt(math.prod(self.model.input_shape))

    def noise_distance(self, samples: int) -> float:
        """How far the noise of a query with so many samples is from Gaussian, in total variation."""
        numbers = self.chunks(samples) * self.chunk * math.prod(self.model.input_shape)
        return noise_distance(numbers, self.sigma)

    def close(self) -> None:
        """Stop the engine."""
        self.engine.close()

    def _sampler(self, number: int) -> Sampler:
        """That of worker `number`, on its thread."""
        build = partial(sampler_here, self.model, self.calibration, self._noise)
        if not self._gpus:
            return on_own_core(number, self._workers, build)
        with torch.cuda.device(self._gpus[number % len(self._gpus)]):
            return build()

    def sample(
        self, image: NDArray[np.floating], first: int, last: int, purpose: Purpose = "query"
    ) -> NDArray[np.float32]:
        """Samples ((last - first) * `chunk`, d) of chunks `first` to `last` - 1 for `image` (C, H, W).

        The noise is added to the pixels as they are and never clipped: the certificate is about that sum.
        """
        return self.engine.draw(self.engine.stream(image, purpose), first, last)

    def first(self, image: NDArray[np.floating], count: int) -> NDArray[np.float32]:
        """The first `count` samples (count, d) of a query with the pixels `image` (C, H, W)."""
        return self.sample(image, 0, self.chunks(count))[:count]

    def embed(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """h of `image` (C, H, W) itself, without noise: (d,)."""
        embedding: NDArray[np.float32] = self._forward(np.repeat(image[None], self.chunk, axis=0))[0]
        return embedding

    @cached_property
    def _forward(self) -> ForwardPass:
        """A pass of this object's own, for one chunk: those of the engine belong to its workers."""
        return self.calibration.build(self.model, 1)

    def mean(self, image: NDArray[np.floating], count: int) -> NDArray[np.float32]:
        """The gallery vector (d,) of `image`: the mean of `count` samples, rounded up to whole chunks."""
        samples = self.sample(image, 0, self.chunks(count), "gallery")
        mean: NDArray[np.float64] = samples.mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)
