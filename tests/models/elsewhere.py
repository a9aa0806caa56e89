"""Noise, samples and data, computed by a fresh process on one core and compared with this one's."""

import os
import sys

import numpy as np
from numpy.typing import NDArray

from models import CHUNK, Calibration, EmbeddingModel, KeyedNoise, SmoothedModel
from models.datasets import digits

SECRET = b"a secret of the tests"
SIGMA = 0.25


def noise() -> NDArray[np.float32]:
    """Chunk 3 of some input."""
    out = np.empty((CHUNK, 2, 5), np.float32)
    KeyedNoise(SECRET, "sha256:model", SIGMA).fill(out, "query", b"input", 3)
    return out


def smoothed(
    model: EmbeddingModel,
    secret: bytes = SECRET,
    sigma: float = SIGMA,
    variant: str = "eager",
    batch: int = 1,
    threads: int | None = None,
) -> SmoothedModel:
    """The smoothed model of the tests."""
    return SmoothedModel(model, sigma, secret, Calibration.fixed(model, variant, batch), workers=threads)


def samples(model: EmbeddingModel) -> NDArray[np.float32]:
    """Chunks 0 to 3 of the first query."""
    return smoothed(model).sample(digits("query").tensors[0], 0, 4)


def mean(model: EmbeddingModel) -> NDArray[np.float32]:
    """The gallery vector of the first gallery item."""
    return smoothed(model).mean(digits("gallery").tensors[0], 2 * CHUNK)


def main() -> None:
    """Write the arrays to the file that the first argument names."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = EmbeddingModel.load("digits-cnn")
    query = digits("query")
    np.savez(
        sys.argv[1],
        noise=noise(),
        samples=samples(model),
        mean=mean(model),
        query_pixels=query.pixels,
        query_ids=np.array(query.ids),
    )


if __name__ == "__main__":
    main()
