"""The engine on a real GPU: the same noise as on a CPU, and samples that nothing but their keys decides.

    pytest -m gpu --noconftest tests/models/sampling/test_gpu.py

needs no more than torch for GPUs and what `models` imports.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import Calibration, EmbeddingModel, SmoothedModel
from models.noise import KeyedNoise, input_digest, on_grid
from models.passes.calibration import KEPT, calibrate
from models.passes.cuda import PRECISIONS, DevicePass
from models.passes.pictures import pictures
from tests.models.elsewhere import SECRET, SIGMA

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
ROOT = Path(__file__).parents[3]
NAMES = [f"cuda-{precision}" for precision in PRECISIONS]
CHUNKS = 40  # more than a batch, of a model with 32 chunks in one


@cache
def model() -> EmbeddingModel:
    return EmbeddingModel.load("emoji-small")


@cache
def smoothed(name: str) -> SmoothedModel:
    return SmoothedModel(model(), SIGMA, SECRET, Calibration.fixed(model(), name))


def drawn(name: str) -> NDArray[np.float32]:
    return smoothed(name).sample(pictures(model().input_shape, 1)[0], 0, CHUNKS)


def named(name: str) -> str:
    """What two processes are compared by."""
    return sha256(drawn(name).tobytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_those_of_the_noise_of_a_cpu(name: str) -> None:
    """Bit for bit, through the same pass: so the noise is the same too, bit for bit."""
    image, chunk = on_grid(pictures(model().input_shape, 1)[0], SIGMA), smoothed(name).chunk
    noise = KeyedNoise(SECRET, smoothed(name).digest, SIGMA)
    forward = smoothed(name).calibration.build(model(), 1)
    made = np.empty((chunk, *model().input_shape), np.float32)
    found = drawn(name)
    for number in (0, 1, CHUNKS - 1):
        noise.fill(made, "query", input_digest(image), number)
        assert np.array_equal(found[number * chunk : (number + 1) * chunk], forward(made + image))


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_same_in_a_crowd_and_in_another_engine(name: str) -> None:
    images = pictures(model().input_shape, 8)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: smoothed(name).sample(image, 0, CHUNKS), images))
    another = SmoothedModel(model(), SIGMA, SECRET, Calibration.fixed(model(), name))
    for image, crowded in zip(images, together, strict=True):
        assert np.array_equal(another.sample(image, 0, CHUNKS), crowded)
        assert np.array_equal(another.sample(image, 3, 4), crowded[3 * another.chunk : 4 * another.chunk])
    another.close()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_same_in_another_process(name: str) -> None:
    script = f"from tests.models.sampling.test_gpu import named; print(named({name!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split()[-1] == named(name)


def test_every_precision_is_measured_and_one_of_them_is_chosen() -> None:
    found = calibrate(model(), SIGMA)
    rows = {one.variant: one for one in found.measured}
    for name in NAMES:
        assert rows[name].unavailable is None
        assert (rows[name].radius_kept or 0) >= KEPT
    assert found.variant in NAMES
    distances = [rows[name].mean_distance or 0 for name in NAMES]
    assert distances == sorted(distances)  # float32, float16, bfloat16
    assert distances[0] < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_one_broken_row_leaves_the_others_alone(name: str) -> None:
    forward = smoothed(name).calibration.build(model())
    assert isinstance(forward, DevicePass)
    images = np.random.default_rng(0).random((forward.batch, *model().input_shape), np.float32)
    before = forward(images)
    broken = images.copy()
    broken[5] = np.nan
    found = forward(broken)
    assert np.isnan(found[5]).all()
    assert np.array_equal(np.delete(found, 5, axis=0), np.delete(before, 5, axis=0))
    assert np.abs(np.linalg.norm(before.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_no_switch_of_torch_changes_a_pass_that_was_built() -> None:
    forward = smoothed("cuda-float32").calibration.build(model())
    images = np.random.default_rng(0).random((64, *model().input_shape), np.float32)
    before = forward(images)
    with torch.backends.cudnn.flags(enabled=False, benchmark=True, deterministic=False, allow_tf32=True):
        assert np.array_equal(forward(images), before)
        again = smoothed("cuda-float32").calibration.build(model())
    assert np.array_equal(again(images), before)  # nor one that is built then
