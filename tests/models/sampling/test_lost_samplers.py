"""A sampler that is lost: its chunks go back to the queue, others draw them, and the samples are the same."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from models import CHUNK, Stop
from models.sampling.engine import Engine
from models.sampling.queue import MOST_LOSSES, Stream
from models.sampling.samplers import Sampler, SamplerLost

SHAPE, DIMENSION, BATCH = (1, 2, 2), 3, 2
Chunks = Sequence[tuple[Stream, int]]
Samples = NDArray[np.float32]


class Away(Exception):
    """What a draw fails with when nobody can draw it."""


def closed_form(number: int) -> Samples:
    """Chunk `number` of every stream: known, and different for each chunk, sample and dimension."""
    return np.arange(CHUNK * DIMENSION, dtype=np.float32).reshape(CHUNK, DIMENSION) + 1000 * number


class Drawn:
    """Draws in closed form, notes what, and is lost with the calls that `fails` picks."""

    def __init__(self, fails: Callable[[int], bool]) -> None:
        self._fails, self._lock = fails, threading.Lock()
        self.calls: list[tuple[int, list[int]]] = []

    def sampler(self, worker: int) -> Sampler:
        def draw(chunks: Chunks) -> list[Samples]:
            with self._lock:
                call = len(self.calls)
                self.calls.append((worker, [number for _, number in chunks]))
            if self._fails(call):
                raise SamplerLost(Away("all samplers are away"))
            return [closed_form(number) for _, number in chunks]

        return draw


def engine(build: Callable[[int], Sampler], workers: int = 1, batches: int = 1) -> Engine:
    return Engine(
        build, sigma=0.25, input_shape=SHAPE, dimension=DIMENSION, batch=BATCH, workers=workers,
        seconds_a_sample=1e-4, batches=batches,
    )  # fmt: skip


def image(seed: int = 0) -> Samples:
    return np.random.default_rng(seed).random(SHAPE, np.float32)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batches", [1, 4])
def test_chunks_of_lost_samplers_are_drawn_by_others(workers: int, batches: int) -> None:
    drawn = Drawn(lambda call: call % 3 == 1)
    opened = engine(drawn.sampler, workers, batches)
    found = opened.draw(opened.stream(image()), 3, 60)
    opened.close()

    assert np.array_equal(found, np.concatenate([closed_form(number) for number in range(3, 60)]))
    lost = [numbers for call, (_, numbers) in enumerate(drawn.calls) if call % 3 == 1]
    assert lost
    handed_out = [number for _, numbers in drawn.calls for number in numbers]
    assert sorted(handed_out) == sorted([*range(3, 60), *(number for numbers in lost for number in numbers)])


def test_a_chunk_that_ends_every_sampler_fails_its_draw_and_no_other() -> None:
    calls: dict[int, int] = {}

    def build(worker: int) -> Sampler:
        def draw(chunks: Chunks) -> list[Samples]:
            for _, number in chunks:
                if number >= 100:
                    calls[number] = calls.get(number, 0) + 1
                    raise SamplerLost(Away("all samplers are away"))
            return [closed_form(number) for _, number in chunks]

        return draw

    opened = engine(build)
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(opened.draw, opened.stream(image(1)), 100, 101)
        good = pool.submit(opened.draw, opened.stream(image(2)), 0, 40)
        with pytest.raises(Away, match="away"):
            bad.result(30)
        assert len(good.result(30)) == 40 * CHUNK
    assert calls == {100: MOST_LOSSES}
    assert opened.waiting == 0
    opened.close()


def test_who_left_is_not_drawn_for_again() -> None:
    """Not by a stop, and not at a deadline."""
    entered, gate = threading.Semaphore(0), threading.Semaphore(0)
    calls = []

    def build(worker: int) -> Sampler:
        def draw(chunks: Chunks) -> list[Samples]:
            calls.append(len(chunks))
            entered.release()
            assert gate.acquire(timeout=30)
            raise SamplerLost(Away("away"))

        return draw

    opened = engine(build)
    for seconds in (None, 1.0):
        stop = Stop(seconds)
        with ThreadPoolExecutor(1) as pool:
            drawing = pool.submit(opened.draw, opened.stream(image()), 0, BATCH, stop)
            assert entered.acquire(timeout=30)
            if stop.remaining is None:
                stop.cancel()
            assert len(drawing.result(30)) == 0
        gate.release()
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            assert opened.waiting == 0
            time.sleep(0.01)
    assert calls == [BATCH, BATCH]
    opened.close()


def test_what_comes_back_after_the_end_fails() -> None:
    entered, gate = threading.Event(), threading.Event()

    def build(worker: int) -> Sampler:
        def draw(chunks: Chunks) -> list[Samples]:
            entered.set()
            assert gate.wait(30)
            raise SamplerLost(Away("away"))

        return draw

    opened = engine(build)
    with ThreadPoolExecutor(2) as pool:
        drawing = pool.submit(opened.draw, opened.stream(image()), 0, 1)
        assert entered.wait(30)
        closing = pool.submit(opened.close)
        gate.set()
        closing.result(30)
        with pytest.raises((Away, RuntimeError)):
            drawing.result(30)


def test_the_cost_of_a_sample_counts_batches_that_were_not_full() -> None:
    """A call of one chunk takes as long as one of a batch; one of three batches as long as three."""

    def build(worker: int) -> Sampler:
        def draw(chunks: Chunks) -> list[Samples]:
            time.sleep(0.02 * -(-len(chunks) // BATCH))
            return [closed_form(number) for _, number in chunks]

        return draw

    opened = engine(build, batches=3)
    for count in (1, 6, 1, 6) * 10:
        opened.draw(opened.stream(image()), 0, count)
    opened.close()
    batch = opened.seconds_a_sample * BATCH * CHUNK
    assert 0.018 < batch < 0.2
