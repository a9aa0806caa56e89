"""The sampler of a GPU, on a CPU: which chunk goes where, and that samples are those of a core's sampler."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import EmbeddingModel, KeyedNoise, Purpose
from models.noise import chunk_size, input_digest, on_grid
from models.passes.cuda import DevicePass, batch_chunks
from models.sampling.device_sampler import DeviceSampler
from models.sampling.queue import Stream
from models.sampling.samplers import CoreSampler
from tests.models.elsewhere import SECRET, SIGMA
from tests.models.folders import residual

BATCH = 4
CPU = torch.device("cpu")


class KnownNoise:
    """Noise of a core, told apart by its key alone: what a kernel does on a GPU."""

    def __init__(self) -> None:
        self._noise = KeyedNoise(SECRET, "model", SIGMA)
        self._chunks: dict[bytes, tuple[Purpose, bytes, int]] = {}
        self.slots = 0

    def key(self, purpose: Purpose, digest: bytes, chunk: int) -> bytes:
        key = input_digest(np.array([len(self._chunks)], np.float32))
        self._chunks[key] = purpose, digest, chunk
        return key

    def add(self, out: Tensor, pixels: Tensor, keys: Tensor) -> None:
        assert out.shape == (BATCH, out.shape[1], pixels.shape[1])
        for place, its_pixels, key in zip(out, pixels, keys, strict=True):
            chunk = self._chunks.get(key.numpy().tobytes())
            if chunk is None:
                continue  # a slot that was never filled
            made = np.empty(tuple(place.shape), np.float32)
            self._noise.fill(made, *chunk)
            place.copy_(torch.from_numpy(made) + its_pixels)
            self.slots += 1


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return residual()


def stream(model: EmbeddingModel, seed: int, purpose: Purpose = "query") -> Stream:
    pixels = on_grid(np.random.default_rng(seed).random(model.input_shape, np.float32), SIGMA)
    return Stream(input_digest(pixels), pixels, purpose)


def device_sampler(model: EmbeddingModel, noise: KnownNoise) -> DeviceSampler:
    chunk = chunk_size(model.input_shape)
    forward = DevicePass(model.network, model.input_shape, BATCH * chunk, "float32", CPU)
    return DeviceSampler(forward, noise.key, noise.add, chunk)


def check(found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert np.array_equal(one, other)


def test_samples_are_those_of_a_core(model: EmbeddingModel) -> None:
    """Of the same pass: whole batches, smaller ones, several queries, both purposes, in any order."""
    chunk, noise = chunk_size(model.input_shape), KnownNoise()
    shape = (BATCH * chunk, *model.input_shape)
    forward = DevicePass(model.network, model.input_shape, shape[0], "float32", CPU)
    core = CoreSampler(forward, KeyedNoise(SECRET, "model", SIGMA), shape, chunk)
    device = device_sampler(model, noise)
    one, other, item = stream(model, 1), stream(model, 2), stream(model, 1, "gallery")
    for chunks in (
        [(one, 0), (one, 1), (other, 0), (one, 7)],
        [(other, 3)],
        [(item, 0), (one, 0)],
        [(one, 7), (other, 0), (one, 1), (one, 0)],
    ):
        check([rows.copy() for rows in device(chunks)], core(chunks))
    assert noise.slots == 4 * BATCH  # a batch is always whole: what is not asked for is filled up
    alone = device([(one, 7)])[0].copy()
    check([alone], [device([(one, 0), (one, 7)])[1]])  # wherever it stands


def test_what_fails_on_the_device_is_told_and_the_next_batch_is_right(model: EmbeddingModel) -> None:
    class Failing(KnownNoise):
        fails = False

        def add(self, out: Tensor, pixels: Tensor, keys: Tensor) -> None:
            if self.fails:
                raise RuntimeError("an illegal memory access was encountered")
            super().add(out, pixels, keys)

    noise = Failing()
    device = device_sampler(model, noise)
    noise.fails = True
    with pytest.raises(RuntimeError, match="illegal memory"):
        device([(stream(model, 1), 0)])
    noise.fails = False
    check(device([(stream(model, 2), 5)]), device_sampler(model, KnownNoise())([(stream(model, 2), 5)]))


@pytest.mark.parametrize(
    ("shape", "images"),
    [
        ((1, 8, 8), 1024),
        ((3, 48, 48), 1024),
        ((3, 224, 224), 256),
        ((3, 384, 384), 128),
        ((3, 2048, 2048), 8),
    ],
)
def test_a_gpu_has_one_batch_which_follows_from_the_shape(shape: tuple[int, int, int], images: int) -> None:
    assert batch_chunks(shape) * chunk_size(shape) == images
