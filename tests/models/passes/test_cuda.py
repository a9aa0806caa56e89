"""Passes of a GPU, without one: that they compute the network, and that the digest names all that decides."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models import EmbeddingModel, SmoothedModel, VariantError
from models.noise import chunk_size
from models.passes import cuda, gpu
from models.passes.calibration import Calibration, calibrate, machine
from models.passes.cuda import PRECISIONS, DevicePass, Precision
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, Variant
from tests.models.elsewhere import SECRET, SIGMA
from tests.models.folders import denoised, residual

CPU = torch.device("cpu")
FAR: dict[Precision, float] = {"float32": 1e-5, "float16": 0.01, "bfloat16": 0.1}
NAMES = [f"cuda-{precision}" for precision in PRECISIONS]


@pytest.mark.parametrize("make", [residual, denoised])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pass_computes_the_network_in_its_precision(precision: Precision, make: Any) -> None:
    model: EmbeddingModel = make()
    images = np.random.default_rng(0).random((16, *model.input_shape), np.float32)
    forward = DevicePass(model.network, model.input_shape, 16, precision, CPU)
    expected = model(images)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}

    found = forward(images)

    assert found.dtype == np.float32
    distances = np.linalg.norm(found - expected, axis=1)
    assert 0 < distances.max() < FAR[precision]
    if precision != "float32":
        assert distances.mean() > 1e-5  # it does compute in fewer bits
    # The end is in float32, whatever the rest.
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())


def test_a_smaller_batch_is_filled_up() -> None:
    model = residual()
    images = np.random.default_rng(0).random((16, *model.input_shape), np.float32)
    forward = DevicePass(model.network, model.input_shape, 16, "bfloat16", CPU)
    whole = forward(images)

    assert np.array_equal(forward(images[:3]), whole[:3])
    assert np.array_equal(forward(images[5:6]), whole[5:6])
    forward.again()
    assert np.array_equal(forward(images), whole)


def test_building_a_pass_leaves_the_switches_of_torch_as_they_were() -> None:
    def switches() -> tuple[object, ...]:
        backend = torch.backends.cudnn
        return backend.enabled, backend.benchmark, backend.deterministic, torch.is_autocast_enabled("cpu")

    model, before = residual(), switches()
    DevicePass(model.network, model.input_shape, 8, "bfloat16", CPU)
    assert switches() == before


def test_without_a_gpu_these_variants_say_so(shipped: EmbeddingModel) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for name in NAMES:
        with pytest.raises(VariantUnavailable, match="CUDA"):
            BY_NAME[name].digest(shipped)
        with pytest.raises(VariantError, match=f"{name} cannot run here: torch"):
            calibrate(shipped, SIGMA, name)
    assert "no GPU" in machine()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Two GPUs of a kind and one of another, as far as a digest asks for them."""
    kinds = [("NVIDIA H100", 9, 0, 132), ("NVIDIA H100", 9, 0, 132), ("NVIDIA L4", 8, 9, 58)]
    found = [
        SimpleNamespace(name=name, major=major, minor=minor, multi_processor_count=count)
        for name, major, minor, count in kinds
    ]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found[number])
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda number: (found[number].major, found[number].minor)
    )
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91400)
    monkeypatch.setattr(gpu, "_driver", lambda: "580.65")
    monkeypatch.setattr(gpu, "find_spec", lambda name: "there")
    monkeypatch.setenv("CC", "gcc")
    return found


def test_gpus_that_compute_otherwise_are_left_alone(pretended: list[SimpleNamespace]) -> None:
    assert gpu.gpus() == (0, 1)
    pretended[1].multi_processor_count = 60  # a slice
    assert gpu.gpus() == (0,)


def test_the_digest_names_all_that_decides_the_kernels(
    shipped: EmbeddingModel, pretended: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {BY_NAME[name].digest(shipped) for name in NAMES}
    assert len(digests) == 3
    variant = BY_NAME["cuda-float16"]

    def changed(target: object, attribute: str, value: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, value)
            digests.add(variant.digest(shipped))

    changed(torch, "__version__", "2.99.0")
    changed(torch.version, "cuda", "12.8")
    changed(torch.backends.cudnn, "version", lambda: 91900)
    changed(torch, "get_float32_matmul_precision", lambda: "medium")
    changed(torch.backends.cuda, "flash_sdp_enabled", lambda: False)
    changed(gpu, "_driver", lambda: "590.01")
    changed(gpu, "_libraries", lambda: "triton 9")
    changed(gpu, "_VARIABLES", ("HOME",))
    changed(pretended[0], "name", "NVIDIA H200")
    changed(pretended[0], "minor", 1)
    changed(pretended[0], "multi_processor_count", 66)
    changed(cuda, "batch_chunks", lambda shape: 4)
    monkeypatch.setattr("models.passes.variants.embedding_code", lambda: "of another version")
    digests.add(variant.digest(shipped))
    assert len(digests) == 3 + 13
    assert "NVIDIA H100 9.0 of 132 driver 580.65" in machine()


def test_noise_that_cannot_be_made_is_told_before_a_variant_is_chosen(
    shipped: EmbeddingModel, pretended: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = BY_NAME["cuda-float16"]
    with monkeypatch.context() as patch:
        patch.delenv("CC")
        patch.setenv("PATH", "")
        with pytest.raises(VariantUnavailable, match="install gcc"):
            variant.digest(shipped)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(VariantUnavailable, match="pip install triton"):
        variant.digest(shipped)


def test_a_gpu_that_knows_no_bfloat16_says_so(
    shipped: EmbeddingModel, pretended: list[SimpleNamespace]
) -> None:
    pretended[0].major = 7
    assert BY_NAME["cuda-float16"].digest(shipped)
    with pytest.raises(VariantUnavailable, match="bfloat16"):
        BY_NAME["cuda-bfloat16"].digest(shipped)


def test_a_record_of_another_batch_does_not_fit(
    shipped: EmbeddingModel, pretended: list[SimpleNamespace]
) -> None:
    fixed = Calibration.fixed(shipped, "cuda-float32", batch=2)
    assert fixed.batch == 8  # the one that a GPU has
    assert fixed.fits(shipped)
    assert not fixed.model_copy(update={"batch": 4}).fits(shipped)


def test_a_gpu_that_computes_otherwise_than_when_it_was_measured_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a library takes other kernels because memory is short; here the pass of another network."""
    model, other = residual(), residual()
    other.network.get_parameter("head.weight").mul_(1 + 2**-20)

    def build(model: EmbeddingModel, batch: int) -> DevicePass:
        return DevicePass(model.network, model.input_shape, batch, "float32", CPU)

    here = Variant("here", lambda model: "here", build, on_gpu=True)
    monkeypatch.setitem(BY_NAME, "here", here)
    found = calibrate(model, SIGMA, "here")

    assert found.batch == here.least_batch(model.input_shape)
    assert f"batches of {found.batch * chunk_size(model.input_shape)}, which fill a GPU" in found.reason
    assert found.digest not in (here.digest(model), here.digest(model, "another"))
    assert found.fits(model)
    assert isinstance(found.build(model), DevicePass)
    with pytest.raises(VariantError, match=r"computes otherwise .* calibration\.json"):
        found.build(other, 1)


def test_the_driver_is_asked_for_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its library, where there is one; else what CUDA says of it."""
    gpu._driver.cache_clear()
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13000, raising=False)

    def absent(name: str) -> object:
        raise OSError(name)

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", absent)
        assert gpu._driver() == "for CUDA 13000"
    gpu._driver.cache_clear()

    def says(written: Any, size: int) -> int:
        written.value = b"580.65.06"
        return 0

    library = SimpleNamespace(nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=says)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert gpu._driver() == "580.65.06"
    gpu._driver.cache_clear()


def test_each_gpu_has_two_workers_whatever_the_threads(
    shipped: EmbeddingModel, pretended: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine passes of a CPU take their place, so that the engine starts."""
    fixed = Calibration.fixed(shipped, "cuda-float32")
    entered: list[int] = []

    class Here:
        def __init__(self, number: int) -> None:
            self.number = number

        def __enter__(self) -> None:
            entered.append(self.number)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "device", Here)
    monkeypatch.setattr(Calibration, "build", lambda self, model, batch=None: model)
    smoothed = SmoothedModel(shipped, SIGMA, SECRET, fixed, workers=7)
    assert smoothed.engine.workers == 4
    assert sorted(entered) == [0, 0, 1, 1]
    smoothed.close()
