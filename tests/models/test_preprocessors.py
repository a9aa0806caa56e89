"""What preprocessors ask for, as manifests say it: sizes, crops, and the scale of pixels."""

from typing import Any

import numpy as np
import pytest

from models import Preprocessing
from models.preprocessors import PreprocessorError, prepared

CONVNEXT = {"image_processor_type": "ConvNextImageProcessorFast"}
SCALED = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        (  # ViT, SigLIP
            {"size": {"height": 48, "width": 32}, "resample": 2},
            (48, 32),
            Preprocessing(size=(48, 32), interpolation="bilinear"),
        ),
        ({"size": 32, "resample": 3}, (32, 32), Preprocessing(size=(32, 32), interpolation="bicubic")),
        (  # CLIP, DINOv2, ResNet
            {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 36}},
            (32, 36),
            Preprocessing(shortest_edge=40, interpolation="bilinear"),
        ),
        (
            {"size": 40, "do_center_crop": True, "crop_size": 32, "resample": 1},
            (32, 32),
            Preprocessing(shortest_edge=40, interpolation="lanczos"),
        ),
        (
            {"size": {"height": 40, "width": 44}, "do_center_crop": True, "crop_size": 32},
            (32, 32),
            Preprocessing(size=(40, 44), interpolation="bilinear"),
        ),
        (  # a crop that is switched off
            {"size": {"height": 40, "width": 40}, "do_center_crop": False, "crop_size": 32},
            (40, 40),
            Preprocessing(size=(40, 40), interpolation="bilinear"),
        ),
        (  # ConvNeXt
            CONVNEXT | {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3},
            (224, 224),
            Preprocessing(shortest_edge=256, interpolation="bicubic"),
        ),
        (
            CONVNEXT | {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 2},
            (384, 384),
            Preprocessing(size=(384, 384), interpolation="bilinear"),
        ),
        (  # ResNet, as older versions wrote it
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224},
            (224, 224),
            Preprocessing(shortest_edge=256, interpolation="bicubic"),
        ),
        (
            {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224},
            (224, 224),
            Preprocessing(size=(256, 256), interpolation="bicubic"),
        ),
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 256, "crop_size": 224},
            (224, 224),
            Preprocessing(shortest_edge=256, interpolation="bicubic"),
        ),
        (
            {"image_processor_type": "ViTImageProcessorFast", "size": 224},
            (224, 224),
            Preprocessing(size=(224, 224), interpolation="bilinear"),
        ),
    ],
)
def test_sizes_and_crops(asked: dict[str, Any], size: tuple[int, int], expected: Preprocessing) -> None:
    found = prepared(SCALED | asked)
    assert (found.size, found.preprocessing) == (size, expected)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": 1 / 127.5, "rescale_offset": True},  # to [-1, 1]
        {"do_rescale": False},
        {"do_normalize": False},
        {"include_top": True},  # EfficientNet
        {"include_top": False, "image_processor_type": "EfficientNetImageProcessor"},
    ],
    ids=repr,
)
def test_pixels_come_out_as_the_processor_scales_them(asked: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3)).astype(np.float64)
    expected = pixels * (asked.get("rescale_factor", 1 / 255) if asked.get("do_rescale", True) else 1)
    expected = expected - 1 if asked.get("rescale_offset") else expected
    if asked.get("do_normalize", True):
        expected = (expected - SCALED["image_mean"]) / SCALED["image_std"]
    if asked.get("include_top"):
        expected = expected / SCALED["image_std"]

    mean, std = prepared(SCALED | {"size": 8} | asked).normalization.of_channels(3)

    assert np.allclose((pixels / 255 - mean) / std, expected)


def test_the_usual_scale_is_taken_over_exactly() -> None:
    found = prepared(SCALED | {"size": 8, "rescale_factor": 0.00392156862745098})
    assert found.normalization.mean == (0.5, 0.4, 0.3)
    assert found.normalization.std == (0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"size": {"shortest_edge": 40}}, "size: the shortest edge alone"),
        ({"size": {"shortest_edge": 40, "longest_edge": 60}}, "size: a longest_edge"),
        ({"size": None}, "size: None is neither"),
        ({"size": {"height": 40}}, "size: {'height': 40} is neither"),
        ({"size": {"height": 40, "width": "40"}}, "size: '40' is no number of pixels"),
        ({"size": 10**6}, "size: 1000000 is no number of pixels from 1 to 4096"),
        ({"size": True}, "size: True is no number of pixels"),
        ({"size": {"shortest_edge": "forty"}}, "size: 'forty' is no number of pixels"),
        (CONVNEXT | {"size": {"shortest_edge": 40}, "crop_pct": 0}, "crop_pct: 0 is no number from 0.1 to 1"),
        (CONVNEXT | {"size": {"shortest_edge": 40}, "crop_pct": "all"}, "crop_pct: 'all' is no number"),
        ({"size": {"shortest_edge": 40}, "crop_pct": 0.9}, "crop_pct: only that of a ConvNextImageProcessor"),
        (
            CONVNEXT
            | {"size": {"shortest_edge": 40}, "crop_pct": 0.9, "do_center_crop": True, "crop_size": 32},
            "crop_pct: with do_center_crop it says twice",
        ),
        (
            {"size": 8, "image_processor_type": "LevitImageProcessor"},
            "what 'LevitImageProcessor' does is not known",
        ),
        ({"size": 8, "feature_extractor_type": 3}, "feature_extractor_type: what 3 does is not known"),
        ({"size": 8, "rescale_factor": 0}, "rescale_factor: 0 is no number"),
        ({"size": 8, "rescale_factor": "1/255"}, "rescale_factor: '1/255' is no number"),
        ({"size": 8, "rescale_factor": float("nan")}, "rescale_factor: nan is no number"),
        ({"size": 8, "image_std": [0.5, 0.0, 0.5]}, "image_std: 0.0 is no number from 1e-06"),
        ({"size": 8, "image_mean": [0.5, True, 0.5]}, "image_mean: True is no number"),
        ({"size": 8, "do_center_crop": True}, "crop_size: None is neither"),
        ({"size": 8, "image_processor_type": "SiglipImageProcessor"}, "size: the shortest edge alone"),
        ({"size": 8, "resample": [2]}, r"resample: \[2\] is no interpolation"),
        ({"size": 8, "do_center_crop": True, "crop_size": "small"}, "crop_size: 'small' is neither"),
        ({"size": 8, "resample": 9}, "resample: 9 is no interpolation"),
        ({"size": 8, "do_resize": False}, "do_resize: pictures are always resized here"),
        ({"size": 8, "do_flip_channel_order": True}, "do_flip_channel_order is not done here"),
        ({"size": 8, "image_mean": None}, "image_mean: None is no list"),
        ({"size": 8, "image_std": "wide"}, "image_std: 'wide' is no list"),
    ],
    ids=repr,
)
def test_what_cannot_be_done_is_refused_by_field(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(PreprocessorError, match=message):
        prepared(SCALED | asked)
