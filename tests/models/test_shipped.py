"""Vectors that ship with a model: for it and its σ, for pictures of these pixels, and for nothing else."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from models import PRETRAINED, EmbeddingModel, ModelError, ShippedVectors, input_digest
from models.datasets import emoji
from models.shipped import FILE

IMAGES = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
DIGITS = EmbeddingModel.load("digits-cnn").manifest


@pytest.fixture
def shipped() -> ShippedVectors:
    vectors = np.random.default_rng(1).standard_normal((2, DIGITS.architecture.dimension)).astype(np.float32)
    keys = [input_digest(image) for image in IMAGES[:2]]
    return ShippedVectors(DIGITS.digest(), 0.25, 64, dict(zip(keys, vectors, strict=True)))


def test_what_is_written_is_read_in_half_precision(shipped: ShippedVectors, tmp_path: Path) -> None:
    shipped.write(tmp_path / FILE)
    found = ShippedVectors.read(tmp_path)
    assert found is not None
    assert (found.model, found.sigma, found.samples, len(found)) == (DIGITS.digest(), 0.25, 64, 2)
    assert found.digest == hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
    for image in IMAGES[:2]:
        read, written = found.of(image), shipped.of(image)
        assert read is not None
        assert written is not None
        assert read.dtype == np.float32
        assert np.array_equal(read, written.astype(np.float16).astype(np.float32))


def test_a_picture_that_differs_by_one_bit_has_none(shipped: ShippedVectors) -> None:
    assert shipped.of(IMAGES[0].copy()) is not None
    assert shipped.of(IMAGES[2]) is None
    other = IMAGES[0].copy()
    other[0, 3, 3] = np.nextafter(other[0, 3, 3], np.float32(1))
    assert shipped.of(other) is None


def test_they_are_for_one_model_and_one_sigma(shipped: ShippedVectors) -> None:
    assert shipped.fault(DIGITS, 0.25) is None
    assert shipped.fault(DIGITS, 0.5) == "they are for sigma 0.25"
    trained = DIGITS.model_copy(update={"weights": DIGITS.weights.model_copy(update={"sha256": "0" * 64})})
    assert shipped.fault(trained, 0.25) == "they are of other weights"
    short = replace(shipped, vectors={key: vector[:-1] for key, vector in shipped.vectors.items()})
    assert short.fault(DIGITS, 0.25) == "they are of another dimension"


def test_a_folder_without_them_has_none(tmp_path: Path) -> None:
    assert ShippedVectors.read(tmp_path) is None


def test_a_file_that_is_damaged_is_told_with_a_way_out(shipped: ShippedVectors, tmp_path: Path) -> None:
    shipped.write(tmp_path / FILE)
    whole = (tmp_path / FILE).read_bytes()
    infinite = replace(shipped, vectors={input_digest(IMAGES[0]): np.full(128, np.inf, np.float32)})
    infinite.write(tmp_path / FILE)
    others = [
        (tmp_path / FILE).read_bytes(),
        whole[:-1],
        b"",
        b"\x80\x04K\x01.",  # a pickle
        save({"inputs": np.zeros((2, 32), np.uint8), "vectors": np.zeros((2, 4), np.float16)}),
        save({"inputs": np.zeros((2, 32), np.uint8)}, {"format": "retrievalguard vectors 1"}),
    ]
    for content in others:
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ModelError, match=f"{FILE} does not hold vectors.*delete it"):
            ShippedVectors.read(tmp_path)


def test_the_emoji_model_ships_those_of_its_whole_demo_gallery() -> None:
    shipped = ShippedVectors.read(PRETRAINED / "emoji-small")
    assert shipped is not None
    manifest = EmbeddingModel.load("emoji-small").manifest
    assert shipped.fault(manifest, manifest.sigma) is None
    assert {input_digest(image) for image in emoji("gallery").tensors} == set(shipped.vectors)
