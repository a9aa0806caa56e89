"""The engine: owns the network, and fills each batch with chunks of whatever queries wait.

A sample is the same number whatever shared its batch: noise is keyed by chunk, a batch has one shape, and
`models.calibration` takes only shapes in which every row comes out the same, bit for bit, wherever it stands.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from models.line import Line, Request, Stream
from models.noise import CHUNK, KeyedNoise, Purpose, input_digest, on_grid
from models.passes import ForwardPass
from models.stop import Stop

NEVER = Stop()


class Engine:
    """One line, and `workers` threads that each run one batch at a time (on a CPU: one a core).

    build     a forward pass for `batch` chunks; each worker builds its own
    capacity  samples that may be promised at a time
    """

    def __init__(
        self,
        build: Callable[[], ForwardPass],
        noise: KeyedNoise,
        *,
        sigma: float,
        input_shape: tuple[int, int, int],
        dimension: int,
        batch: int,
        workers: int,
        capacity: int,
    ) -> None:
        self._build, self._noise, self._sigma = build, noise, sigma
        self._shape, self._dimension, self._batch = input_shape, dimension, batch
        self._seconds_a_sample = 1e-4  # of one worker, a running mean
        self._line = Line(capacity)
        cores = sorted(os.sched_getaffinity(0))
        # Left alone, workers that wake together begin on one core, and share it for some milliseconds.
        self._cores = cores if workers == len(cores) else None
        ready: list[Future[None]] = [Future() for _ in range(workers)]
        self._workers = [
            threading.Thread(target=self._work, args=(number, future), name=f"engine-{number}", daemon=True)
            for number, future in enumerate(ready)
        ]
        for worker in self._workers:
            worker.start()
        for future in ready:
            future.result()

    def close(self) -> None:
        """Stop the workers; requests that wait fail."""
        self._line.close()
        for worker in self._workers:
            worker.join()

    @property
    def workers(self) -> int:
        """How many batches are worked on at a time."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Samples in line."""
        return self._line.waiting

    @property
    def backlog_seconds(self) -> float:
        """About how long all that is promised would take, if all of it were drawn."""
        return self._line.promised * self._seconds_a_sample / self.workers

    def stream(self, image: NDArray[np.float32], purpose: Purpose = "query") -> Stream:
        """The stream of samples of `image` (C, H, W), put on the grid: one point of it, one stream.

        Raises `ValueError` on an image of another shape.
        """
        if image.shape != self._shape:
            raise ValueError(f"the network takes images of shape {self._shape}, got {image.shape}")
        pixels = on_grid(image, self._sigma)
        return Stream(input_digest(pixels), pixels, purpose)

    @contextmanager
    def promised(self, samples: int) -> Iterator[None]:
        """Room for `samples` in the line; raises `LineFull`."""
        self._line.promise(samples)
        try:
            yield
        finally:
            self._line.release(samples)

    def draw(self, stream: Stream, first: int, last: int, stop: Stop = NEVER) -> NDArray[np.float32]:
        """Samples (n, d) of chunks `first` to `last` - 1; fewer, but whole chunks, when `stop` says so.

        Raises what the network raises. Chunks that are not drawn by then leave the line at once.
        """
        request = Request(stream, first, last, np.empty((last - first, CHUNK, self._dimension), np.float32))
        if last > first:
            try:
                with stop.waking(request.finished.set):
                    self._line.put(request)
                    request.finished.wait(stop.remaining)
            finally:
                if not request.arrived.all():
                    self._line.drop(request)
        if request.error is not None:
            raise request.error
        return request.samples[: request.whole].reshape(-1, self._dimension)

    def _work(self, number: int, ready: "Future[None]") -> None:
        torch.set_num_threads(1)
        try:
            if self._cores is not None:
                os.sched_setaffinity(threading.get_native_id(), {self._cores[number]})
            forward = self._build()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        noisy = np.zeros((self._batch * CHUNK, *self._shape), np.float32)
        while chunks := self._line.take(self._batch):
            started = time.perf_counter()
            try:
                for slot, (request, chunk) in enumerate(chunks):
                    part = noisy[slot * CHUNK : (slot + 1) * CHUNK]
                    self._noise.fill(part, request.stream.purpose, request.stream.digest, chunk)
                    part += request.stream.pixels
                embeddings = forward(noisy)
                for slot, (request, chunk) in enumerate(chunks):
                    request.deliver(chunk, embeddings[slot * CHUNK : (slot + 1) * CHUNK])
            except Exception as error:  # the queries in this batch fail, the engine goes on
                for request, _ in chunks:
                    request.fail(error)
                continue
            took = (time.perf_counter() - started) / (self._batch * CHUNK)
            self._seconds_a_sample += 0.05 * (took - self._seconds_a_sample)
