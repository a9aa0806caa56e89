"""Samples a second: the engine, and the loops that it is compared with."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from models import SmoothedModel

# Batches that the eager loop is tried at.
BATCHES = (128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Plain:
    """The process of `bench.plain`."""

    process: "subprocess.Popen[str]"

    def seconds(self, command: str) -> float:
        """How long the loop that `command` names took there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(command, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def research(self, samples: int) -> float:
        """Samples a second of the loop of research code."""
        return samples / self.seconds(f"research {samples}")

    def eager(self, batch: int, samples: int) -> float:
        """Samples a second of eager float32 passes in batches of `batch`."""
        whole = samples // batch * batch
        return whole / self.seconds(f"eager {batch} {whole}")


@contextmanager
def plain() -> Iterator[Plain]:
    """The baselines, ready; ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.plain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Plain(process)
    finally:
        process.kill()
        process.wait()


class Bare:
    """The network in the variant that is served: passes on every core, or on `workers`, nothing else."""

    def __init__(self, smoothed: SmoothedModel, workers: int | None = None) -> None:
        self._images = np.random.default_rng(0).random(
            (smoothed.calibration.batch * smoothed.chunk, *smoothed.model.input_shape), dtype=np.float32
        )
        self._passes = [
            smoothed.calibration.build(smoothed.model) for _ in range(workers or smoothed.engine.workers)
        ]

    def core_seconds(self, samples: int) -> float:
        """Seconds of a core for one of about so many samples: hardly touched by whatever else runs."""
        started = time.process_time()
        drawn = self._run(samples)
        return (time.process_time() - started) / drawn

    def rate(self, samples: int) -> float:
        """Samples a second."""
        started = time.perf_counter()
        drawn = self._run(samples)
        return drawn / (time.perf_counter() - started)

    def _run(self, samples: int) -> int:
        """How many it were, in whole batches."""
        rounds = samples // (len(self._images) * len(self._passes))

        def work(number: int) -> None:
            torch.set_num_threads(1)
            for _ in range(rounds):
                self._passes[number](self._images)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(self._passes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return rounds * len(self._images) * len(self._passes)


def engine(smoothed: SmoothedModel, in_flight: int, samples: int) -> float:
    """Samples a second of the engine with so many queries in flight, `samples` in all."""
    images = np.random.default_rng(1).random((in_flight, *smoothed.model.input_shape), dtype=np.float32)
    each = smoothed.chunks(samples // in_flight)
    with ThreadPoolExecutor(in_flight) as pool:
        started = time.perf_counter()
        list(pool.map(lambda image: smoothed.sample(image, 0, each), images))
        return each * smoothed.chunk * in_flight / (time.perf_counter() - started)
