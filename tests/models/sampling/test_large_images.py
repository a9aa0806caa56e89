"""Samples of large images come in smaller chunks, and are the same numbers in whatever parts they come."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import CHUNK, Calibration, EmbeddingModel, Manifest, SmoothedModel, Stop
from models.manifest import ConvolutionalArchitecture
from models.model import build_network
from service.cache.samples import SampleCache
from service.cache.sqlite_store import EmbeddedStore
from service.metrics import Metrics
from service.retrieval.samples import QuerySamples
from tests.models import folders
from tests.models.elsewhere import SECRET, SIGMA

SHAPE = (1, 100, 100)
LESS = 16  # CHUNK images of this shape have more than a million pixels


@pytest.fixture(scope="module")
def smoothed() -> Iterator[SmoothedModel]:
    architecture = ConvolutionalArchitecture(kind="convolutional", width=1, dimension=4, nonnegative=True)
    changes = {"architecture": architecture, "input_shape": SHAPE, "ranges": None}
    manifest = Manifest.read(folders.SHIPPED).model_copy(update=changes)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(architecture, SHAPE, manifest.normalization)
    model = EmbeddingModel(manifest, network)
    opened = SmoothedModel(model, SIGMA, SECRET, Calibration.fixed(model, "eager", 2), workers=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def test_chunks_are_smaller_and_parts_make_the_whole(
    smoothed: SmoothedModel, image: NDArray[np.float32]
) -> None:
    whole = smoothed.sample(image, 0, 3)
    assert smoothed.chunk == LESS < CHUNK
    assert len(whole) == 3 * LESS
    assert np.array_equal(smoothed.sample(image, 1, 3), whole[LESS:])
    assert np.array_equal(smoothed.first(image, LESS + 1), whole[: LESS + 1])
    assert not np.array_equal(whole[:LESS], whole[LESS : 2 * LESS])
    assert smoothed.engine.waiting == 0


def test_a_query_of_a_large_image_is_resumed_from_the_cache(
    smoothed: SmoothedModel, image: NDArray[np.float32], tmp_path: Path
) -> None:
    store = EmbeddedStore(tmp_path / "cache.sqlite3", max_bytes=10**7, ttl_seconds=60)
    cache = SampleCache(
        store, SECRET, model_digest=smoothed.digest, sigma=SIGMA, dimension=4, chunk=smoothed.chunk
    )

    def samples() -> QuerySamples:
        return QuerySamples(cache, smoothed, Metrics(), smoothed.engine.stream(image))

    asked = samples()
    assert len(asked.chunk(Stop())) == LESS
    first = asked.first(LESS + 5, Stop()).copy()
    asked.keep()
    again = samples()

    assert again.there == 2 * LESS
    assert np.array_equal(again.first(LESS + 5, Stop()), first)
    assert np.array_equal(again.first(3 * LESS, Stop()), smoothed.sample(image, 0, 3))
    store.close()


def test_an_image_itself_is_embedded_without_a_whole_batch(
    smoothed: SmoothedModel, image: NDArray[np.float32]
) -> None:
    assert np.array_equal(smoothed.embed(image), smoothed.model(np.repeat(image[None], LESS, axis=0))[0])
