"""The engine: owns the network, and fills each batch with chunks of whatever queries wait.

A sample is the same number whatever shared its batch: noise is keyed by chunk, a batch has one shape, and
`models.passes.calibration` takes only shapes in which every row comes out the same, bit for bit, wherever it
stands.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from models.noise import Purpose, chunk_size, input_digest, on_grid
from models.sampling.queue import Draw, SampleQueue, Stream
from models.sampling.samplers import Sampler, SamplerLost
from models.stop import Stop

NEVER = Stop()


class Engine:
    """One queue, and `workers` threads that each run one batch at a time.

    Chunks that a sampler is lost with go back to the queue, and are drawn by another.

    build             the sampler of the worker of that number, for `batches` of `batch` chunks; called on its
                      thread
    seconds_a_sample  about what a sample takes one worker, before any was drawn
    """

    def __init__(
        self,
        build: Callable[[int], Sampler],
        *,
        sigma: float,
        input_shape: tuple[int, int, int],
        dimension: int,
        batch: int,
        workers: int,
        seconds_a_sample: float,
        batches: int = 1,
    ) -> None:
        self._build, self._sigma = build, sigma
        self._shape, self._dimension = input_shape, dimension
        self._batch, self._most = batch, batch * batches
        self._chunk = chunk_size(input_shape)
        self._seconds_a_sample = seconds_a_sample
        self._queue = SampleQueue()
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
        """Stop the workers; draws that wait fail."""
        self._queue.close()
        for worker in self._workers:
            worker.join()

    @property
    def workers(self) -> int:
        """How many batches are worked on at a time."""
        return len(self._workers)

    @property
    def chunks_at_work(self) -> int:
        """How many chunks are worked on at a time, when there are as many."""
        return len(self._workers) * self._most

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return self._queue.waiting

    @property
    def seconds_a_sample(self) -> float:
        """What a sample takes one worker, its noise included: a running mean."""
        return self._seconds_a_sample

    def stream(self, image: NDArray[np.floating], purpose: Purpose = "query") -> Stream:
        """The stream of samples of `image` (C, H, W), put on the grid: one point of it, one stream.

        An image that is on the grid stays as it is.

        Raises `ValueError` on an image of another shape.
        """
        if image.shape != self._shape:
            raise ValueError(f"the network takes images of shape {self._shape}, got {image.shape}")
        pixels = on_grid(image, self._sigma)
        return Stream(input_digest(pixels), pixels, purpose)

    def draw(self, stream: Stream, first: int, last: int, stop: Stop = NEVER) -> NDArray[np.float32]:
        """Samples (n, d) of chunks `first` to `last` - 1; fewer, but whole chunks, when `stop` says so.

        Raises what the network raises, or what draws fail with when sampler after sampler is lost. Chunks
        that are not drawn by then leave the queue at once.
        """
        draw = Draw(stream, first, last, np.empty((last - first, self._chunk, self._dimension), np.float32))
        if last > first:
            try:
                with stop.waking(draw.finished.set):
                    self._queue.put(draw)
                    draw.finished.wait(stop.remaining)
            finally:
                if not draw.arrived.all():
                    self._queue.drop(draw)
        if draw.error is not None:
            raise draw.error
        return draw.samples[: draw.whole].reshape(-1, self._dimension)

    def _work(self, number: int, ready: "Future[None]") -> None:
        try:
            sampler = self._build(number)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        while chunks := self._queue.take(self._most):
            started = time.perf_counter()
            try:
                found = sampler([(draw.stream, chunk) for draw, chunk in chunks])
                for (draw, chunk), samples in zip(chunks, found, strict=True):
                    draw.deliver(chunk, samples)
            except SamplerLost as lost:
                self._queue.give_back(chunks, lost.error)
                continue
            # The queries in this batch fail, the engine goes on. Whatever it is: a worker that ended would
            # leave them waiting for good, and take its share of the machine with it.
            except BaseException as error:
                is_plain = isinstance(error, Exception)
                told = error if is_plain else RuntimeError(f"a worker was ended: {error!r}")
                for draw, _ in chunks:
                    draw.fail(told)
                continue
            paid = -(-len(chunks) // self._batch) * self._batch  # a batch takes as long when it is not full
            took = (time.perf_counter() - started) / (paid * self._chunk)
            self._seconds_a_sample += 0.05 * (took - self._seconds_a_sample)
