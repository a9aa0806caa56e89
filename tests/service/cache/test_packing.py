"""Packed samples: every bit comes back, nothing swells, and the shipped network's get much smaller."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from models import CHUNK, Calibration, EmbeddingModel, SmoothedModel
from service.cache.packing import pack, unpack
from service.cache.samples import SampleCache
from tests.service.queries import tensor

SHAPES = st.tuples(st.integers(0, 20), st.integers(1, 20))
ANY_BITS = SHAPES.flatmap(lambda shape: npst.arrays(np.uint32, shape, elements=st.integers(0, 2**32 - 1)))
FEW_VALUES = SHAPES.flatmap(
    lambda shape: npst.arrays(np.float32, shape, elements=st.sampled_from([0.0, -0.0, 1.0, float("nan")]))
)


class Kept:
    """A store in memory that shows its only value."""

    def __init__(self) -> None:
        self.value: bytes | None = None

    def get(self, key: str) -> bytes | None:
        return self.value

    def set(self, key: str, value: bytes) -> None:
        self.value = value

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.float32]:
    """2,048 samples of the shipped network."""
    model = EmbeddingModel.load("digits-cnn")
    smoothed = SmoothedModel(model, 0.25, b"x" * 32, Calibration.fixed(model))
    try:
        return smoothed.sample(tensor(3), 0, 16)
    finally:
        smoothed.close()


@settings(deadline=None)
@given(st.one_of(ANY_BITS.map(lambda bits: bits.view(np.float32)), FEW_VALUES))
def test_every_bit_comes_back(samples: NDArray[np.float32]) -> None:
    found = unpack(pack(samples), *samples.shape)
    assert found is not None
    assert (found.shape, found.dtype) == (samples.shape, np.float32)
    assert found.tobytes() == samples.tobytes()


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_bytes_that_are_no_samples_are_refused_and_never_swell(
    packed: bytes, count: int, dimension: int
) -> None:
    found = unpack(packed, count, dimension)
    assert found is None or found.nbytes <= 32 * len(packed)


def test_a_byte_more_or_less_is_refused(drawn: NDArray[np.float32]) -> None:
    packed = pack(drawn)
    assert unpack(packed[:-1], *drawn.shape) is None
    assert unpack(packed + b"\0", *drawn.shape) is None
    assert unpack(packed, len(drawn) + CHUNK, drawn.shape[1]) is None
    assert unpack(packed, len(drawn) - CHUNK, drawn.shape[1]) is None


def cache(store: Kept, dimension: int) -> SampleCache:
    return SampleCache(store, b"x" * 32, model_digest="m", sigma=0.25, dimension=dimension, chunk=128)


def test_samples_of_the_shipped_network_take_less_than_half(drawn: NDArray[np.float32]) -> None:
    store = Kept()
    cache(store, 64).set(b"input", drawn)
    assert store.value is not None
    assert len(store.value) < 0.5 * drawn.nbytes
    assert cache(store, 64).get(b"input").tobytes() == drawn.tobytes()


def test_samples_that_would_not_get_smaller_are_kept_as_they_are() -> None:
    store, samples = Kept(), np.random.default_rng(0).random((256, 64), dtype=np.float32)
    cache(store, 64).set(b"input", samples)
    assert store.value is not None
    assert store.value.endswith(samples.tobytes())
    assert len(store.value) < samples.nbytes + 100
    assert cache(store, 64).get(b"input").tobytes() == samples.tobytes()
