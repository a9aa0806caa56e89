"""The samples of one query: what the cache holds first, then new ones, in as many rounds as it takes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import EmbeddingModel, SmoothedModel
from models.noise import input_digest
from service.cache import SampleCache
from service.cache_stores import EmbeddedStore
from service.errors import ModelFailure
from service.metrics import Metrics
from service.samples import QuerySamples
from tests.service.queries import tensor

SECRET = b"a secret of this file alone"


class Desk:
    """Model, cache and metrics, as a query meets them."""

    def __init__(self, path: Path) -> None:
        self.model = EmbeddingModel.load("digits-cnn")
        self.smoothed = SmoothedModel(self.model, 0.25, SECRET, threads=1)
        self.metrics = Metrics()
        store = EmbeddedStore(path, max_bytes=10**8, ttl_seconds=60)
        self.cache = SampleCache(
            store, SECRET, model_digest=self.model.manifest.digest, sigma=0.25, dimension=64
        )

    def ask(self, row: int = 0) -> QuerySamples:
        return QuerySamples(self.cache, self.smoothed, self.metrics, tensor(row))

    def drawn(self) -> float:
        return float(self.metrics.samples._value.get())

    def lookups(self) -> dict[str, float]:
        return {name: self.metrics.cache.labels(name)._value.get() for name in ("miss", "resumed", "hit")}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path / "cache.sqlite3")
    yield opened
    opened.smoothed.close()
    opened.cache.close()


@pytest.fixture
def stream(desk: Desk) -> NDArray[np.float32]:
    """The first eight chunks of query 0, drawn at once."""
    return desk.smoothed.sample(tensor(0), 0, 8)


@pytest.mark.parametrize("rounds", [[1000], [256, 384, 1000], [2, 128, 129, 500, 1000], [1000, 3, 700]])
def test_rounds_are_prefixes_of_one_sequence_and_each_chunk_is_drawn_once(
    desk: Desk, stream: NDArray[np.float32], rounds: list[int]
) -> None:
    samples = desk.ask()
    for count in rounds:
        assert np.array_equal(samples.first(count), stream[:count])
    assert desk.drawn() == 1024


def test_what_is_kept_is_not_drawn_again_and_more_is_gone_on_from(
    desk: Desk, stream: NDArray[np.float32]
) -> None:
    first = desk.ask()
    first.first(300)
    assert len(desk.ask().first(1)) == 1  # nothing is kept before it is said so: this drew a chunk of its own
    assert first.keep() == "miss"
    assert desk.drawn() == 384 + 128

    second = desk.ask()
    assert np.array_equal(second.first(384), stream[:384])
    assert second.keep() == "hit"
    assert desk.drawn() == 384 + 128

    third = desk.ask()
    for count in (256, 384, 640, 1000):
        assert np.array_equal(third.first(count), stream[:count])
    assert third.keep() == "resumed"
    assert desk.drawn() == 1024 + 128
    assert desk.lookups() == {"miss": 1, "hit": 1, "resumed": 1}


def test_a_short_query_does_not_cost_a_longer_one_its_samples(desk: Desk) -> None:
    long = desk.ask()
    long.first(1000)
    long.keep()
    short = desk.ask()
    short.first(10)
    assert short.keep() == "hit"

    again = desk.ask()
    again.first(1000)
    assert again.keep() == "hit"


def test_samples_of_another_image_are_not_taken_for_its_own(desk: Desk) -> None:
    one, other = desk.ask(0), desk.ask(1)
    one.first(128)
    one.keep()
    assert not np.array_equal(other.first(128), one.first(128))
    assert other.keep() == "miss"


def test_a_value_that_is_not_finite_is_a_failure_of_the_model_and_never_kept(desk: Desk) -> None:
    def fail(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        broken = output.clone()
        broken[17, 3] = float("nan")
        return broken

    samples = desk.ask()
    good = samples.first(128)
    with (
        desk.model.network.register_forward_hook(fail),
        pytest.raises(ModelFailure, match="not finite for this image"),
    ):
        samples.first(129)
    assert np.isfinite(good).all()
    assert len(desk.cache.get(input_digest(tensor(0)))) == 0
