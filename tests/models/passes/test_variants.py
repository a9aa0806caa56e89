"""Forward passes: each computes the network, near enough, and each is an h with a digest of its own."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import CHUNK, EmbeddingModel
from models.datasets import digits
from models.passes import kernels
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, VARIANTS, Variant, with_ranges
from tests.models.elsewhere import SIGMA
from tests.models.folders import model_of

Images = NDArray[np.float32]

# How far (l2) an embedding may be from exact arithmetic: rounding to 24 bits, 8 bits, and 256 levels.
FAR = {"bfloat16": 0.03, "int8": 0.15}


def runnable(variant: Variant, model: EmbeddingModel) -> Variant:
    try:
        variant.arithmetic(model)
    except VariantUnavailable as error:
        pytest.skip(str(error))
    return variant


@pytest.fixture(scope="module")
def noisy() -> Images:
    """Digits with noise, two chunks."""
    generator = np.random.default_rng(3)
    images = digits("query").tensors[: 2 * CHUNK]
    return (images + 0.25 * generator.standard_normal(images.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def exact(shipped: EmbeddingModel, noisy: Images) -> NDArray[np.float64]:
    with torch.inference_mode():
        embeddings: NDArray[np.float64] = (
            copy.deepcopy(shipped.network).double()(torch.from_numpy(noisy).double()).numpy()
        )
    return embeddings


@pytest.mark.parametrize("name", BY_NAME)
def test_a_variant_computes_the_network(
    name: str, shipped: EmbeddingModel, noisy: Images, exact: NDArray[np.float64]
) -> None:
    variant = runnable(BY_NAME[name], shipped)

    found = variant.build(shipped, CHUNK)(noisy[:CHUNK])

    assert found.shape == (CHUNK, shipped.dimension)
    assert found.dtype == np.float32
    far = next((far for kind, far in FAR.items() if name.endswith(kind)), 1e-5)
    distances = np.linalg.norm(found - exact[:CHUNK], axis=1)
    assert distances.max() <= far
    if name.endswith(tuple(FAR)):
        assert distances.mean() > 1e-4  # it does compute in fewer bits


@pytest.mark.parametrize("name", BY_NAME)
def test_embeddings_are_what_the_certificate_assumes(
    name: str, shipped: EmbeddingModel, noisy: Images
) -> None:
    """Non-negative and of norm one, to float32, whatever the precision of the rest; also far from images."""
    forward = runnable(BY_NAME[name], shipped).build(shipped, CHUNK)
    for images in (noisy[:CHUNK], 1000 * noisy[:CHUNK], np.zeros_like(noisy[:CHUNK])):
        found = forward(images)
        assert (found >= 0).all()
        assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize("name", BY_NAME)
def test_a_row_is_the_same_wherever_it_stands_and_whatever_the_batch(
    name: str, shipped: EmbeddingModel, noisy: Images
) -> None:
    variant = runnable(BY_NAME[name], shipped)
    alone, both = variant.build(shipped, CHUNK), variant.build(shipped, 2 * CHUNK)

    expected = np.concatenate([alone(noisy[:CHUNK]), alone(noisy[CHUNK:])])

    assert np.array_equal(both(noisy), expected)
    assert np.array_equal(both(noisy[::-1].copy()), expected[::-1])


@pytest.mark.parametrize("name", BY_NAME)
def test_a_pass_gives_its_result_away(name: str, shipped: EmbeddingModel, noisy: Images) -> None:
    forward = runnable(BY_NAME[name], shipped).build(shipped, CHUNK)
    first = forward(noisy[:CHUNK])
    kept = first.copy()
    forward(noisy[CHUNK:])

    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", BY_NAME)
def test_one_broken_row_leaves_the_others_alone(name: str, shipped: EmbeddingModel, noisy: Images) -> None:
    """A compiled ReLU may turn what is not a number into 0: then it is an embedding like any other."""
    forward = runnable(BY_NAME[name], shipped).build(shipped, CHUNK)
    broken = noisy[:CHUNK].copy()
    broken[5] = np.nan
    found = forward(broken)

    assert np.isnan(found[5]).all() or (name.startswith("openvino") and np.isfinite(found[5]).all())
    assert np.array_equal(np.delete(found, 5, axis=0), np.delete(forward(noisy[:CHUNK]), 5, axis=0))


def test_every_variant_has_a_digest_of_its_own(shipped: EmbeddingModel) -> None:
    runnable_here = []
    for variant in VARIANTS:
        try:
            runnable_here.append(variant.digest(shipped))
        except VariantUnavailable:
            continue

    assert len(runnable_here) >= 4  # torch's run everywhere
    assert len(set(runnable_here)) == len(runnable_here)
    assert shipped.manifest.digest() not in runnable_here  # that names a model, not what runs


@pytest.mark.parametrize("name", BY_NAME)
def test_the_digest_names_what_decides_the_kernels(
    name: str, shipped: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another order of additions moved float32 samples by up to 1e-4, ten times the slack.

    Of OpenVINO too: torch traces what it converts, and oneDNN is inside it.
    """
    variant = runnable(BY_NAME[name], shipped)
    digests = {variant.digest(shipped)}

    def changed(target: object, attribute: str, value: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, value)
            digests.add(variant.digest(shipped))

    changed(torch, "__version__", "2.99.0")
    changed(np, "__version__", "2.99.0")
    changed(kernels, "processor", lambda: "x86_64 another processor avx512f")
    changed(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    changed(torch, "get_float32_matmul_precision", lambda: "medium")
    changed(torch.backends.mkldnn, "is_available", lambda: False)
    for variable in ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "AVX2")
            digests.add(variant.digest(shipped))
    assert len(digests) == 9
    assert variant.digest(shipped) == variant.digest(shipped)


def test_other_kernels_in_the_same_process_family_have_another_digest(shipped: EmbeddingModel) -> None:
    """torch told to do without vector instructions, for real: it says so, and it computes otherwise."""
    script = """
from models import EmbeddingModel
from models.passes.variants import BY_NAME
model = EmbeddingModel.load("digits-cnn")
print(BY_NAME["eager"].digest(model))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True,
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
    )  # fmt: skip
    assert done.stdout.strip() != BY_NAME["eager"].digest(shipped)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_digest_names_the_code_behind_samples(
    name: str, shipped: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = runnable(BY_NAME[name], shipped)
    before = variant.digest(shipped)
    monkeypatch.setattr("models.passes.variants.embedding_code", lambda: "of another version")
    assert variant.digest(shipped) != before


def test_the_ranges_of_int8_are_part_of_its_digest(shipped: EmbeddingModel) -> None:
    int8 = runnable(BY_NAME["openvino-int8"], shipped)
    ranges = shipped.manifest.ranges
    for factor in (2, 1 + 1e-15):
        wider = shipped.manifest.model_copy(update={"ranges": tuple(factor * bound for bound in ranges)})
        assert int8.digest(EmbeddingModel(wider, shipped.network)) != int8.digest(shipped)
        assert wider.digest() == shipped.manifest.digest()


@pytest.mark.parametrize("name", ["openvino-float32", "openvino-bfloat16", "openvino-int8"])
def test_the_written_and_the_converted_graph_have_digests_of_their_own(
    name: str, shipped: EmbeddingModel
) -> None:
    variant = runnable(BY_NAME[name], shipped)
    unranged = EmbeddingModel(shipped.manifest.model_copy(update={"ranges": None}), shipped.network)
    converted = with_ranges(unranged, SIGMA)

    assert converted.manifest.digest() == shipped.manifest.digest()
    assert variant.digest(converted) != variant.digest(shipped)


def test_openvino_is_named_to_the_last_commit(
    shipped: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = runnable(BY_NAME["openvino-float32"], shipped)  # which imports it without telemetry
    import openvino

    before, version = variant.digest(shipped), openvino.get_version()
    monkeypatch.setattr(openvino, "get_version", lambda: f"{version}-another-build")
    assert variant.digest(shipped) != before


def test_folding_holds_for_any_batch_statistics(untrained: torch.nn.Module, noisy: Images) -> None:
    model = model_of(untrained)  # type: ignore[arg-type]
    difference = BY_NAME["folded"].build(model, CHUNK)(noisy[:CHUNK]) - model(noisy[:CHUNK])

    assert np.abs(difference).max() < 1e-5


def test_compiling_reports_to_nobody() -> None:
    """OpenVINO brings a module that reports its use over the network; nothing that is run here calls it."""
    script = """
import socket
def refuse(*arguments, **named):
    raise SystemExit(f"a connection was opened: {arguments}")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from models import CHUNK, EmbeddingModel
from models.passes import kernels
from models.passes.unavailable import VariantUnavailable
from models.passes.variants import BY_NAME, VARIANTS, with_ranges
model, ran = EmbeddingModel.load("digits-cnn"), 0
for variant in VARIANTS:
    try:
        variant.digest(model)
    except VariantUnavailable:
        continue
    variant.build(model, CHUNK)(np.zeros((CHUNK, *model.input_shape), np.float32))
    ran += 1
from tests.models.folders import residual
model = with_ranges(residual(), 0.25)
for name in ("openvino-float32", "openvino-int8"):
    BY_NAME[name].build(model, 8)(np.zeros((8, *model.input_shape), np.float32))
print(ran)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) >= 4
