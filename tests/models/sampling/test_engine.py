"""The engine: samples depend on nothing but their keys, whoever shares the batch, and the line is fair."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from models import CHUNK, EmbeddingModel, KeyedNoise, Stop
from models.datasets import digits
from models.noise import input_digest, on_grid
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, ForwardPass
from models.sampling.engine import Engine
from models.sampling.queue import OLDEST_EVERY
from models.sampling.samplers import CoreSampler, on_own_core
from tests.models.elsewhere import SECRET, SIGMA, smoothed

Images = NDArray[np.float32]
SHAPE = (1, 2, 2)


class SlowPass:
    """An h that is known: the first pixels of its input. Every pass waits to be let through, and is noted."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.fails = False

    def __call__(self, images: Images) -> Images:
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        if self.fails:
            raise MemoryError("no memory for this batch")
        return images.reshape(len(images), -1)[:, :2].copy()


def expected(image: Images, first: int, last: int) -> Images:
    """What an engine with that pass has to return."""
    noise, noisy = KeyedNoise(SECRET, "model", SIGMA), np.empty((last - first, CHUNK, *SHAPE), np.float32)
    for number in range(first, last):
        noise.fill(noisy[number - first], "query", input_digest(on_grid(image, SIGMA)), number)
    return (noisy + on_grid(image, SIGMA)).reshape(-1, 4)[:, :2]


@pytest.fixture
def slow() -> Iterator[SlowPass]:
    forward = SlowPass()
    yield forward
    forward.gate.release(10**6)


def sampler_of(forward: ForwardPass, batch: int = 2) -> CoreSampler:
    return CoreSampler(forward, KeyedNoise(SECRET, "model", SIGMA), (batch * CHUNK, *SHAPE), CHUNK)


def engine_of(forward: ForwardPass, batch: int = 2, workers: int = 1) -> Engine:
    return Engine(
        lambda _: sampler_of(forward, batch),
        sigma=SIGMA,
        input_shape=SHAPE,
        dimension=2,
        batch=batch,
        workers=workers,
        seconds_a_sample=1e-4,
    )


@pytest.fixture
def engine(slow: SlowPass) -> Iterator[Engine]:
    opened = engine_of(slow)
    yield opened
    slow.gate.release(10**6)
    opened.close()


def image(seed: int) -> Images:
    return np.random.default_rng(seed).random(SHAPE, np.float32)


def waiting(engine: Engine, samples: int) -> None:
    """Wait until so many samples are in line."""
    end = time.monotonic() + 30
    while engine.waiting != samples:
        assert time.monotonic() < end, engine.waiting
        time.sleep(0.002)


def test_samples_are_those_of_the_keyed_noise(slow: SlowPass, engine: Engine) -> None:
    slow.gate.release(100)
    for first, last in ((0, 1), (3, 8)):
        drawn = engine.draw(engine.stream(image(1)), first, last)
        assert np.array_equal(drawn, expected(image(1), first, last))


def test_a_batch_is_filled_with_chunks_of_several_queries(slow: SlowPass, engine: Engine) -> None:
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(engine.draw, engine.stream(image(0)), 0, 1)
        assert slow.entered.acquire(timeout=30)  # the worker is busy with it, alone
        others = [pool.submit(engine.draw, engine.stream(image(seed)), 0, 1) for seed in (1, 2)]
        waiting(engine, 2 * CHUNK)
        slow.gate.release(2)  # two passes for three queries
        results = [future.result(30) for future in (first, *others)]

    for seed, drawn in enumerate(results):
        assert np.array_equal(drawn, expected(image(seed), 0, 1))


def test_a_short_query_does_not_wait_for_a_long_one(slow: SlowPass, engine: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(engine.draw, engine.stream(image(0)), 0, 500)
        slow.gate.release(20)
        waiting(engine, (500 - 42) * CHUNK)  # 20 passes are done, and the next is under way
        short = pool.submit(engine.draw, engine.stream(image(1)), 0, 2)
        waiting(engine, (500 - 42 + 2) * CHUNK)
        # The pass under way, one for the short query, and one more if a chunk went to who came first.
        slow.gate.release(2 + 2 // OLDEST_EVERY + 1)
        assert np.array_equal(short.result(30), expected(image(1), 0, 2))
        assert not long.done()
        slow.gate.release(10**6)
        assert len(long.result(30)) == 500 * CHUNK


def test_at_the_deadline_what_is_there_is_returned_and_the_rest_leaves_the_line(
    slow: SlowPass, engine: Engine
) -> None:
    slow.gate.release(3)
    drawn = engine.draw(engine.stream(image(0)), 0, 50, Stop(0.3))

    assert 0 < len(drawn) <= 3 * 2 * CHUNK
    assert len(drawn) % CHUNK == 0
    assert np.array_equal(drawn, expected(image(0), 0, len(drawn) // CHUNK))
    assert engine.waiting == 0


def test_who_cancels_leaves_the_line_at_once(slow: SlowPass, engine: Engine) -> None:
    stop = Stop()
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(engine.draw, engine.stream(image(0)), 0, 50, stop)
        assert slow.entered.acquire(timeout=30)
        stop.cancel()
        assert len(leaving.result(5)) == 0  # while the pass is still under way

    assert engine.waiting == 0
    slow.gate.release(10)
    assert np.array_equal(engine.draw(engine.stream(image(1)), 0, 3), expected(image(1), 0, 3))


def test_a_pass_that_fails_fails_the_queries_in_its_batch_and_no_other(
    slow: SlowPass, engine: Engine
) -> None:
    slow.fails = True
    slow.gate.release(1)
    with pytest.raises(MemoryError, match="no memory for this batch"):
        engine.draw(engine.stream(image(0)), 0, 9)
    slow.fails = False
    slow.gate.release(10)

    assert engine.waiting == 0
    assert np.array_equal(engine.draw(engine.stream(image(0)), 0, 9), expected(image(0), 0, 9))


def test_what_a_sample_takes_is_measured(slow: SlowPass) -> None:
    engine = engine_of(slow)
    slow.gate.release(1000)
    before = engine.seconds_a_sample
    engine.draw(engine.stream(image(0)), 0, 400)
    assert before == 1e-4
    assert 0 < engine.seconds_a_sample < before  # this pass takes next to nothing
    engine.close()


def test_an_engine_whose_network_does_not_load_is_not_made() -> None:
    def broken(number: int) -> CoreSampler:
        raise OSError("no such network")

    with pytest.raises(OSError, match="no such network"):
        Engine(
            broken, sigma=SIGMA, input_shape=SHAPE, dimension=2,
            batch=1, workers=2, seconds_a_sample=1e-4,
        )  # fmt: skip


def test_closing_fails_who_waits(slow: SlowPass, engine: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(engine.draw, engine.stream(image(0)), 0, 50)
        assert slow.entered.acquire(timeout=30)
        closing = pool.submit(engine.close)
        with pytest.raises(RuntimeError, match="shutting down"):
            asking.result(10)
        slow.gate.release(10)
        closing.result(10)


@pytest.mark.parametrize("name", ["eager", "folded", "openvino-int8"])
@pytest.mark.parametrize("batch", [1, 4])
def test_samples_are_the_same_beside_a_crowd_as_alone(name: str, batch: int, shipped: EmbeddingModel) -> None:
    try:
        BY_NAME[name].arithmetic(shipped)
    except VariantUnavailable as error:
        pytest.skip(str(error))
    images = digits("query").tensors[:8]
    alone = smoothed(shipped, variant=name, threads=1)
    crowded = smoothed(shipped, variant=name, batch=batch)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: crowded.sample(x, 0, 5), images))

    for x, drawn in zip(images, together, strict=True):
        assert np.array_equal(drawn, alone.sample(x, 0, 5))
    alone.close()
    crowded.close()


def test_inputs_at_one_point_of_the_grid_have_the_same_noise(slow: SlowPass, engine: Engine) -> None:
    slow.gate.release(100)
    point = on_grid(image(0), SIGMA)
    near = np.nextafter(point, np.float32(1))
    assert not np.array_equal(near, point)

    assert np.array_equal(engine.draw(engine.stream(near), 0, 3), engine.draw(engine.stream(point), 0, 3))


def test_an_image_of_another_shape_is_refused_before_it_joins_a_batch(engine: Engine) -> None:
    for shape in ((1, 1, 1), (1, 3, 3), (2, 2)):
        with pytest.raises(ValueError, match="shape"):
            engine.stream(np.zeros(shape, np.float32))


def test_a_pass_that_returns_too_few_rows_fails_its_queries_and_the_engine_goes_on(slow: SlowPass) -> None:
    rows = [1, 2 * CHUNK, 2 * CHUNK]
    engine = engine_of(lambda images: images.reshape(len(images), -1)[: rows.pop(0), :2].copy())
    with pytest.raises(ValueError, match="broadcast"):
        engine.draw(engine.stream(image(0)), 0, 2)

    assert np.array_equal(engine.draw(engine.stream(image(0)), 0, 2), expected(image(0), 0, 2))
    engine.close()


def test_a_wait_that_fails_leaves_nothing_in_line(slow: SlowPass, engine: Engine) -> None:
    with pytest.raises(OverflowError):
        engine.draw(engine.stream(image(0)), 0, 50, Stop(1e300))
    assert engine.waiting == 0


@pytest.mark.parametrize("workers", [1, len(os.sched_getaffinity(0))])
def test_workers_that_are_as_many_as_cores_have_one_each(workers: int, slow: SlowPass) -> None:
    cores, seen = os.sched_getaffinity(0), list[set[int]]()

    def build() -> CoreSampler:
        seen.append(os.sched_getaffinity(threading.get_native_id()))
        return sampler_of(slow)

    Engine(
        lambda number: on_own_core(number, workers, build),
        sigma=SIGMA,
        input_shape=SHAPE,
        dimension=2,
        batch=1,
        workers=workers,
        seconds_a_sample=1e-4,
    ).close()

    if workers == len(cores):
        assert sorted(map(sorted, seen)) == [[core] for core in sorted(cores)]
    else:
        assert seen == [cores] * workers
    assert os.sched_getaffinity(0) == cores


def test_a_worker_that_is_ended_fails_its_queries_and_goes_on() -> None:
    """By what is no Exception: raised in the thread from outside, as a library or a debugger may."""
    inside = threading.Event()

    def forward(images: Images) -> Images:
        worker.append(threading.get_ident())
        while not inside.is_set():
            time.sleep(0.001)
        return images.reshape(len(images), -1)[:, :2].copy()

    worker: list[int] = []
    engine = engine_of(forward)
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(engine.draw, engine.stream(image(0)), 0, 2)
        while not worker:
            time.sleep(0.001)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker[0]), ctypes.py_object(SystemExit))
        with pytest.raises(RuntimeError, match="a worker was ended"):
            drawn.result(60)
    inside.set()
    assert np.array_equal(engine.draw(engine.stream(image(0)), 0, 2), expected(image(0), 0, 2))
    engine.close()
