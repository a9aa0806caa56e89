"""The samples of one query: what the cache holds first, then new ones, drawn once for all who ask."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import CHUNK, Calibration, EmbeddingModel, SmoothedModel, Stop
from models.noise import input_digest, on_grid
from service.cache.samples import SampleCache
from service.cache.sqlite_store import EmbeddedStore
from service.errors import ModelFailure
from service.metrics import Metrics
from service.retrieval.samples import QuerySamples, SamplesInUse
from tests.service.processes import wait_for
from tests.service.queries import tensor

SECRET = b"a secret of this file alone"
NEVER = Stop()
MANY = 2**17  # samples: seconds on any machine


class Desk:
    """Model, cache and metrics, as a query meets them."""

    def __init__(self, path: Path) -> None:
        self.model = EmbeddingModel.load("digits-cnn")
        self.smoothed = SmoothedModel(self.model, 0.25, SECRET, Calibration.fixed(self.model), workers=1)
        self.metrics = Metrics()
        self.store = EmbeddedStore(path, max_bytes=10**8, ttl_seconds=60)
        self.cache = SampleCache(
            self.store, SECRET, model_digest=self.smoothed.digest, sigma=0.25, dimension=64, chunk=128
        )
        self.shared = SamplesInUse(self.cache, self.smoothed, self.metrics)

    def ask(self, row: int = 0) -> QuerySamples:
        return QuerySamples(self.cache, self.smoothed, self.metrics, self.smoothed.engine.stream(tensor(row)))

    def drawn(self) -> float:
        return float(self.metrics.samples._value.get())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path / "cache.sqlite3")
    yield opened
    opened.smoothed.close()
    opened.store.close()


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
        assert np.array_equal(samples.first(count, NEVER), stream[:count])
    assert desk.drawn() == 1024


def test_what_is_kept_is_not_drawn_again_and_more_is_gone_on_from(
    desk: Desk, stream: NDArray[np.float32]
) -> None:
    first = desk.ask()
    assert first.there == 0
    first.first(300, NEVER)
    assert desk.ask().there == 0  # nothing is kept before it is said so
    first.keep()
    assert desk.drawn() == first.there == 384

    second = desk.ask()
    assert second.there == 384
    assert np.array_equal(second.first(384, NEVER), stream[:384])
    assert desk.drawn() == 384

    third = desk.ask()
    for count in (256, 384, 640, 1000):
        assert np.array_equal(third.first(count, NEVER), stream[:count])
    third.keep()
    assert desk.drawn() == 1024
    assert desk.ask().there == 1024


def test_a_short_query_does_not_cost_a_longer_one_its_samples(desk: Desk) -> None:
    long = desk.ask()
    long.first(1000, NEVER)
    long.keep()
    short = desk.ask()
    short.first(10, NEVER)
    short.keep()
    assert desk.ask().there == 1024


def test_samples_of_another_image_are_not_taken_for_its_own(desk: Desk) -> None:
    one, other = desk.ask(0), desk.ask(1)
    one.first(128, NEVER)
    one.keep()
    assert other.there == 0
    assert not np.array_equal(other.first(128, NEVER), one.first(128, NEVER))


def test_a_value_that_is_not_finite_is_a_failure_of_the_model_and_never_kept(desk: Desk) -> None:
    def fail(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        broken = output.clone()
        broken[17, 3] = float("nan")
        return broken

    samples = desk.ask()
    good = samples.first(128, NEVER)
    with (
        desk.model.network.register_forward_hook(fail),
        pytest.raises(ModelFailure, match="not finite for this image"),
    ):
        samples.first(129, NEVER)
    assert np.isfinite(good).all()
    assert samples.there == 128
    samples.keep()
    assert len(desk.cache.get(input_digest(on_grid(tensor(0), 0.25)))) == 128


def test_all_who_ask_for_an_image_at_once_share_what_is_drawn(
    desk: Desk, stream: NDArray[np.float32]
) -> None:
    together = threading.Barrier(8)

    def one(count: int) -> bool:
        with desk.shared.of(tensor(0).copy()) as samples:
            together.wait()
            return np.array_equal(samples.first(count, NEVER), stream[:count])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, [100, 128, 129, 256, 500, 1000, 1000, 1024]))
    assert desk.drawn() == 1024
    # Nobody asks any more, and nothing was kept: it begins anew.
    with desk.shared.of(tensor(0)) as samples:
        assert samples.there == 0


def test_samples_are_shared_for_as_long_as_anyone_asks_and_each_image_has_its_own(desk: Desk) -> None:
    with desk.shared.of(tensor(0)) as first, desk.shared.of(tensor(1)) as other:
        with desk.shared.of(tensor(0)) as second:
            assert first is second is not other
        with desk.shared.of(tensor(0)) as third:
            assert third is first
    assert desk.shared._entries == {}


def test_a_stop_gives_back_whole_chunks_at_once_and_the_next_goes_on_from_there(
    desk: Desk,
) -> None:
    samples, stop = desk.ask(), Stop()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(samples.first, MANY, stop)
        wait_for(lambda: desk.smoothed.engine.waiting)
        follower = pool.submit(samples.first, 1024, NEVER)
        seen = time.perf_counter()
        stop.cancel()
        early = leader.result()
        assert time.perf_counter() - seen < 1
        assert len(early) < MANY
        assert len(early) % CHUNK == 0
        expected = desk.smoothed.sample(tensor(0), 0, 8)
        assert np.array_equal(follower.result(), expected)
        assert np.array_equal(early[:1024], expected[: len(early)])
    assert desk.drawn() == max(len(early), 1024) == samples.there


def test_a_deadline_gives_what_is_there_by_then_also_to_those_who_wait_for_another(desk: Desk) -> None:
    samples, leaving = desk.ask(), Stop()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(samples.first, MANY, leaving)
        wait_for(lambda: desk.smoothed.engine.waiting)
        started = time.perf_counter()
        some = samples.first(MANY, Stop(0.1))  # the slices that the leader has had drawn
        assert len(some) < MANY
        assert len(some) % CHUNK == 0
        assert 0.1 <= time.perf_counter() - started < 1
        assert not leader.done()
        leaving.cancel()
        leader.result()
    assert len(samples.first(CHUNK, Stop(0.0))) == min(CHUNK, samples.there)
