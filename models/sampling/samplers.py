"""Samplers: what a worker of the engine makes samples with. The one here runs on a core; others run on a GPU,
or in another process.

A sample is decided by its stream, the number of its chunk and its place in that: not by the sampler's other
chunks, and not by what it made before.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.noise import KeyedNoise
from models.passes.calibration import Calibration
from models.passes.variants import ForwardPass
from models.sampling.queue import Stream


class Sampler(Protocol):
    """Samples of chunks, each named by its stream and its number; for one caller at a time."""

    def __call__(self, chunks: Sequence[tuple[Stream, int]]) -> Sequence[NDArray[np.float32]]:
        """The samples (chunk, d) of each of the `chunks`, which fit into a batch; until the next call."""
        ...


class SamplerLost(Exception):
    """A sampler is gone, with chunks that another may draw.

    error  what their draws fail with if too many samplers were lost with the same chunk
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class SamplersElsewhere:
    """Samplers that are not in this process, all of the h that `calibration` says.

    build    what a worker of that number, on its thread, asks them through; that raises `SamplerLost`
    workers  how many calls are under way at a time
    batches  how many of the calibration's batches a call may hold
    """

    calibration: Calibration
    build: Callable[[int], Sampler]
    workers: int
    batches: int


class CoreSampler:
    """Noise and network on the thread that calls, one after the other.

    forward  a pass for images of `shape` (B, C, H, W): a whole number of chunks, of `chunk` samples each
    """

    def __init__(
        self, forward: ForwardPass, noise: KeyedNoise, shape: tuple[int, int, int, int], chunk: int
    ) -> None:
        self._forward, self._noise, self._chunk = forward, noise, chunk
        self._noisy = np.zeros(shape, np.float32)

    def __call__(self, chunks: Sequence[tuple[Stream, int]]) -> Sequence[NDArray[np.float32]]:
        """The samples (chunk, d) of each of the `chunks`. Raises what the network raises."""
        size = self._chunk
        for slot, (stream, number) in enumerate(chunks):
            part = self._noisy[slot * size : (slot + 1) * size]
            self._noise.fill(part, stream.purpose, stream.digest, number)
            part += stream.pixels
        embeddings = self._forward(self._noisy)
        return [embeddings[slot * size : (slot + 1) * size] for slot in range(len(chunks))]


def on_own_core(number: int, workers: int, build: Callable[[], Sampler]) -> Sampler:
    """What `build` makes, for the thread of worker `number`, which keeps to one core from now on.

    To one of its own, where there are as many `workers` as cores: left alone, those that wake together begin
    on one core, and share it for some milliseconds.
    """
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    if workers == len(cores):
        os.sched_setaffinity(threading.get_native_id(), {cores[number]})
    return build()
