"""Networks without a graph of their own: converted, quantized, and chosen as any other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import Calibration, EmbeddingModel, VariantError, calibrated
from models.encoders import import_encoder
from models.noise import chunk_size
from models.passes import calibration as calibrating
from models.passes.calibration import calibrate
from models.passes.converted_graph import converted_graph
from models.passes.openvino import core
from models.passes.pictures import noisy, pictures
from models.passes.quantization import _with_zero, measured_ranges, quantize
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, with_ranges
from tests.models import backbones
from tests.models.folders import denoised, residual

Images = NDArray[np.float32]
SIGMA, BATCH = 0.25, 16


@pytest.fixture(scope="module", params=["residual", "vit", "denoised"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    """With its ranges measured."""
    if request.param in ("residual", "denoised"):
        found = {"residual": residual, "denoised": denoised}[request.param]()
    else:
        folder = tmp_path_factory.mktemp(request.param)
        encoder = backbones.made(request.param, folder / "encoder")
        found = import_encoder(encoder, folder / "model", sigma=SIGMA)
    return with_ranges(found, SIGMA)


@pytest.fixture(scope="module")
def images(model: EmbeddingModel) -> Images:
    return noisy(pictures(model.input_shape, BATCH), 2, SIGMA)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_converted_network_computes_the_network(
    precision: str, model: EmbeddingModel, images: Images
) -> None:
    variant = BY_NAME[f"openvino-{precision}"]
    found, exact = variant.build(model, BATCH)(images[:BATCH]), model(images[:BATCH])

    distances = np.linalg.norm(found - exact, axis=1)
    assert distances.max() < (1e-5 if precision == "float32" else 0.15)
    if precision == "int8":
        assert distances.mean() > 1e-4  # it does compute in fewer bits
    assert (found >= 0).all() or not model.nonnegative


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_row_is_the_same_wherever_it_stands_and_whatever_the_batch(
    precision: str, model: EmbeddingModel, images: Images
) -> None:
    variant = BY_NAME[f"openvino-{precision}"]
    alone, both = variant.build(model, BATCH), variant.build(model, 2 * BATCH)

    expected = np.concatenate([alone(images[:BATCH]), alone(images[BATCH:])])
    assert np.array_equal(both(images), expected)
    assert np.array_equal(both(images[::-1].copy()), expected[::-1])


def test_ranges_are_the_same_when_they_are_measured_again(model: EmbeddingModel) -> None:
    again = with_ranges(EmbeddingModel(model.manifest, model.network), SIGMA)

    assert again.ranges == model.ranges
    assert with_ranges(model, 9.0) is model  # what is known is kept
    assert model.ranges
    assert all(low <= 0 <= high for low, high in model.ranges)
    # Behind a ReLU there is nothing below 0; denoised pixels may be.
    assert any(low < 0 for low, _ in model.ranges) == (model.manifest.architecture.kind != "residual")


def test_every_number_of_the_ranges_is_part_of_the_digest_and_of_the_function(
    model: EmbeddingModel, images: Images
) -> None:
    int8 = BY_NAME["openvino-int8"]
    assert model.ranges is not None
    (low, high), *others = model.ranges
    narrower = EmbeddingModel(model.manifest, model.network, ((low, high / 4), *others))

    assert int8.digest(narrower) != int8.digest(model)
    assert BY_NAME["openvino-float32"].digest(narrower) == BY_NAME["openvino-float32"].digest(model)
    changed, before = (int8.build(one, BATCH)(images[:BATCH]) for one in (narrower, model))
    assert not np.array_equal(changed, before)


def test_a_value_of_zero_stays_zero_in_int8() -> None:
    for low, high in ((0.0, 3.97), (-0.17, 8.1), (-5.0, 0.0)):
        bottom, top = _with_zero(low, high)
        levels = bottom + (top - bottom) * np.arange(256, dtype=np.float64) / 255
        assert np.abs(levels).min() < 1e-6
        step = (high - low) / 255
        assert abs(bottom - low) <= step
        assert abs(top - high) <= step


def test_ranges_of_another_graph_are_refused(model: EmbeddingModel) -> None:
    assert model.ranges is not None
    graph = converted_graph(model.network, model.input_shape, BATCH)
    with pytest.raises(ValueError, match=f"{len(model.ranges) - 1} ranges for {len(model.ranges)} tensors"):
        quantize(graph, model.ranges[1:])


def test_without_ranges_int8_is_not_available_and_written_graphs_are_for_one_kind_alone(
    model: EmbeddingModel,
) -> None:
    unmeasured = EmbeddingModel(model.manifest, model.network)
    with pytest.raises(VariantUnavailable, match="were not measured"):
        BY_NAME["openvino-int8"].digest(unmeasured)
    for name in ("folded", "channels-last", "torch-bfloat16"):
        with pytest.raises(VariantUnavailable, match="convolutional networks alone"):
            BY_NAME[name].digest(model)


def test_a_calibration_keeps_the_ranges_that_its_digest_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "TRIALS", 2)
    unmeasured = residual()
    model = with_ranges(unmeasured, SIGMA)
    made = calibrated(unmeasured, SIGMA, "openvino-int8", tmp_path / "calibration.json")
    assert made.ranges == model.ranges
    monkeypatch.setattr(calibrating, "with_ranges", lambda *_: pytest.fail("measured again"))

    kept = calibrated(unmeasured, SIGMA, "openvino-int8", tmp_path / "calibration.json")

    assert kept == made
    assert made.digest == BY_NAME["openvino-int8"].digest(model)
    chunk = chunk_size(model.input_shape)
    many = noisy(pictures(model.input_shape, chunk), 1, SIGMA)
    assert np.array_equal(kept.build(unmeasured, 1)(many), BY_NAME["openvino-int8"].build(model, chunk)(many))


def test_all_ways_are_measured_on_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "TRIALS", 2)
    found = {one.variant: one for one in calibrate(residual(), SIGMA).measured}

    assert list(found) == list(BY_NAME)
    for name in ("openvino-float32", "openvino-int8"):
        assert abs((found[name].radius_kept or 0) - 1) < 0.05
    assert found["eager"].radius_kept == 1


def test_a_variant_that_tells_pictures_apart_less_well_keeps_less_of_the_radius() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(calibrating.ITEMS, 20)
    noise = 0.1 * generator.standard_normal((500, calibrating.ITEMS, 20))

    def radius(share: float) -> float:
        return calibrating._radius((share * centres + noise).reshape(-1, 20).astype(np.float32), SIGMA)

    # Two centres are √2 apart; the bisector is half of that away, in units of the noise, times σ.
    assert radius(1) == pytest.approx(SIGMA * np.sqrt(2) / 2 / 0.1, rel=0.05)
    assert radius(0.5) / radius(1) == pytest.approx(0.5, rel=0.05)


def test_a_network_that_cannot_be_converted_is_run_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "TRIALS", 2)
    model = residual()
    scores: Callable[[torch.Tensor], torch.Tensor] = model.network.scores

    def unsupported(pixels: torch.Tensor) -> torch.Tensor:
        return scores(pixels) + torch.linalg.svdvals(pixels[:, 0]).sum(dim=1, keepdim=True) * 0

    monkeypatch.setattr(model.network, "scores", unsupported)
    found = calibrate(model, SIGMA)

    assert found.variant == "eager"
    refused = {one.variant: one.unavailable for one in found.measured if one.unavailable}
    assert "OpenVINO cannot convert this network" in refused["openvino-float32"]


def test_a_network_whose_graph_cannot_be_run_is_unavailable_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = residual()

    def fail(*_: object) -> None:
        raise RuntimeError("Check 'rank' failed\nat src/core.cpp:12")

    core()  # without telemetry
    import openvino

    for owner, name, message in (
        (openvino.Model, "reshape", "cannot fix the batch of this network: Check 'rank' failed at src"),
        (openvino.Core, "compile_model", "cannot compile this network: Check 'rank' failed at src"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(VariantUnavailable, match=message) as error:
                BY_NAME["openvino-float32"].build(model, 2)
        assert "\n" not in str(error.value)


def test_a_network_that_tells_nothing_apart_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "TRIALS", 2)
    model = residual()
    with torch.no_grad():
        for values in model.network.parameters():
            values.zero_()

    with pytest.raises(VariantError, match="gives all pictures the same embedding"):
        calibrate(model, SIGMA, "eager")


def test_a_slow_network_has_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "_timed", lambda passes: dict.fromkeys(passes, 3600.0 * 24))
    (found,) = calibrate(residual(), SIGMA, "eager").measured
    assert found.samples_per_second
    assert found.radius_kept == 1


def test_fixed_int8_measures_its_ranges() -> None:
    model = residual()
    assert Calibration.fixed(model, "openvino-int8").ranges == with_ranges(model, model.manifest.sigma).ranges


def test_ranges_cover_what_the_pictures_held(model: EmbeddingModel, images: Images) -> None:
    graph = converted_graph(model.network, model.input_shape, BATCH)
    some = measured_ranges(graph, images[:BATCH])
    graph = converted_graph(model.network, model.input_shape, BATCH)
    more = measured_ranges(graph, images)

    assert all(a <= c and d <= b for (a, b), (c, d) in zip(more, some, strict=True))
