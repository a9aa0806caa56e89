"""What a `preprocessor_config.json` of transformers asks for, in the terms of a manifest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import ModelError
from models.manifest import Normalization, Preprocessing

Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

# By the numbers that Pillow gives them.
_INTERPOLATIONS: dict[int, Interpolation] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming",
}  # fmt: skip
# Families whose processors use the words that are read here and no others, and what they do unless told.
_FAMILIES: dict[str, dict[str, object]] = {
    "Beit": {"resample": 3},
    "Bit": {"resample": 3, "do_center_crop": True},
    "CLIP": {"resample": 3, "do_center_crop": True},
    "ConvNext": {"resample": 3, "crop_pct": 224 / 256},
    "DeiT": {"resample": 3, "do_center_crop": True},
    "DINOv3ViT": {"resample": 2},
    "EfficientNet": {"resample": 3, "include_top": True},
    "MobileNetV2": {"resample": 2, "do_center_crop": True},
    "Siglip": {"resample": 3},
    "ViT": {"resample": 2},
}
# Of those, the ones for which a size of one number is that of the shortest edge, and not of a square.
_SHORTEST = {"Bit", "CLIP", "ConvNext", "MobileNetV2", "Siglip"}
_CLASS = re.compile(r"(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")
# The family that has a `crop_pct` of this meaning.
_CROPPING = "ConvNext"
# The longest edge that is taken, in pixels.
_LONGEST = 4096
# Below it, processors with a `crop_pct` resize to more and cut the centre out; from it on they stretch.
_CROPPED_BELOW = 384
# What changes pixels in ways that a manifest has no words for.
_UNKNOWN = ("do_flip_channel_order", "do_pad", "do_thumbnail", "do_align_long_axis", "do_split_image")


class PreprocessorError(ModelError):
    """Images cannot be prepared as this file asks; the message says what it is that cannot be done."""


@dataclass(frozen=True)
class Prepared:
    """The input: its (height, width), how a picture becomes so large, and how its pixels are scaled."""

    size: tuple[int, int]
    preprocessing: Preprocessing
    normalization: Normalization


def prepared(processor: Mapping[str, Any]) -> Prepared:
    """What the JSON object of a `preprocessor_config.json` asks for; raises `PreprocessorError`."""
    family = _family(processor)
    if family is not None:
        processor = _FAMILIES[family] | dict(processor)
    for name in _UNKNOWN:
        if processor.get(name):
            raise PreprocessorError(f"{name} is not done here: export the model so that it needs none")
    size, preprocessing = _resizing(processor, family)
    return Prepared(size, preprocessing, _normalization(processor))


def _family(processor: Mapping[str, Any]) -> str | None:
    """Of the class that the file names; None if it names none: then its words are taken as they are."""
    for name in ("image_processor_type", "feature_extractor_type"):
        kind = processor.get(name)
        if kind is None:
            continue
        found = _CLASS.fullmatch(kind) if isinstance(kind, str) else None
        if found is None or found[1] not in _FAMILIES:
            known = ", ".join(f"{family}ImageProcessor" for family in sorted(_FAMILIES))
            raise PreprocessorError(f"{name}: what {kind!r} does is not known here; known are {known}")
        return found[1]
    return None


def _resizing(processor: Mapping[str, Any], family: str | None) -> tuple[tuple[int, int], Preprocessing]:
    number = processor.get("resample", 2)
    if not isinstance(number, int) or number not in _INTERPOLATIONS:
        raise PreprocessorError(f"resample: {number!r} is no interpolation; there is: 0 to 5")
    interpolation = _INTERPOLATIONS[number]
    asked = processor.get("size")
    crop = _square(processor.get("crop_size"), "crop_size") if processor.get("do_center_crop") else None
    if not processor.get("do_resize", True):
        raise PreprocessorError("do_resize: pictures are always resized here: set it, and a size")
    share = processor.get("crop_pct")
    if share is not None and family != _CROPPING:
        raise PreprocessorError(f"crop_pct: only that of a {_CROPPING}ImageProcessor is known here")
    shortest = crop is not None if family is None else family in _SHORTEST
    edge = _edge(asked, shortest=shortest)
    if edge is None:
        resized = _square(asked, "size")
        return crop or resized, Preprocessing(size=resized, interpolation=interpolation)
    if share is not None:
        if crop is not None:
            raise PreprocessorError("crop_pct: with do_center_crop it says twice what is cut out")
        if edge >= _CROPPED_BELOW:
            return (edge, edge), Preprocessing(size=(edge, edge), interpolation=interpolation)
        whole = int(edge / _number(share, "crop_pct", 0.1, 1))
        return (edge, edge), Preprocessing(shortest_edge=whole, interpolation=interpolation)
    if crop is None:
        raise PreprocessorError(
            "size: the shortest edge alone gives inputs of any size: set do_center_crop and crop_size"
        )
    return crop, Preprocessing(shortest_edge=edge, interpolation=interpolation)


def _edge(size: object, *, shortest: bool) -> int | None:
    """The length that the shortest edge of a picture gets, if `size` is about that, as one number may be."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        if "longest_edge" in size:
            raise PreprocessorError("size: a longest_edge gives inputs of any size: use height and width")
        return _length(size["shortest_edge"], "size")
    return _length(size, "size") if isinstance(size, int) and shortest else None


def _square(size: object, name: str) -> tuple[int, int]:
    """(height, width)."""
    if isinstance(size, int):
        return _length(size, name), _length(size, name)
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return _length(size["height"], name), _length(size["width"], name)
    raise PreprocessorError(f"{name}: {size!r} is neither a number nor height and width")


def _normalization(processor: Mapping[str, Any]) -> Normalization:
    """For pixels in [0, 1], of what is asked for in the scale that the file gives them, 0 to 255 if none."""
    scale = 255.0
    if processor.get("do_rescale", True):
        scale *= _number(processor.get("rescale_factor", 1 / 255), "rescale_factor", 1e-6, 1e6)
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    if not processor.get("do_normalize", True):
        return Normalization(mean=offset / scale, std=1 / scale)
    mean = _list(processor, "image_mean", -1e6)
    std = _list(processor, "image_std", 1e-6)
    if processor.get("include_top"):  # of EfficientNet: it divides by the deviation twice
        std = [one * one for one in std]
    # (scale x - offset - mean) / std = (x - (mean + offset) / scale) / (std / scale)
    return Normalization(
        mean=tuple((one + offset) / scale for one in mean), std=tuple(one / scale for one in std)
    )


def _list(processor: Mapping[str, Any], name: str, least: float) -> list[float]:
    found = processor.get(name)
    numbers = [found] if isinstance(found, int | float) else found
    if not isinstance(numbers, list):
        raise PreprocessorError(f"{name}: {found!r} is no list of a number for each channel")
    return [_number(one, name, least, 1e6) for one in numbers]


def _number(value: object, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise PreprocessorError(f"{name}: {value!r} is no number from {least:g} to {most:g}")
    return float(value)


def _length(value: object, name: str) -> int:
    """Of an edge, in pixels."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LONGEST:
        raise PreprocessorError(f"{name}: {value!r} is no number of pixels from 1 to {_LONGEST}")
    return value
