"""What a `preprocessor_config.json` of transformers asks for, in the terms of a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.manifest import Normalization, Preprocessing

Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

# By the numbers that Pillow gives them.
_INTERPOLATIONS: dict[int, Interpolation] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming",
}  # fmt: skip
# Below it, processors with a `crop_pct` resize to more and cut the centre out; from it on they stretch.
_CROPPED_BELOW = 384
# What changes pixels in ways that a manifest has no words for.
_UNKNOWN = ("do_flip_channel_order", "do_pad", "do_thumbnail", "do_align_long_axis", "do_split_image")


class PreprocessorError(Exception):
    """Images cannot be prepared as this file asks; the message says what it is that cannot be done."""


@dataclass(frozen=True)
class Prepared:
    """The input: its (height, width), how a picture becomes so large, and how its pixels are scaled."""

    size: tuple[int, int]
    preprocessing: Preprocessing
    normalization: Normalization


def prepared(processor: Mapping[str, Any]) -> Prepared:
    """What the JSON object of a `preprocessor_config.json` asks for; raises `PreprocessorError`."""
    for name in _UNKNOWN:
        if processor.get(name):
            raise PreprocessorError(f"{name} is not done here: export the model so that it needs none")
    size, preprocessing = _resizing(processor)
    return Prepared(size, preprocessing, _normalization(processor))


def _resizing(processor: Mapping[str, Any]) -> tuple[tuple[int, int], Preprocessing]:
    number = processor.get("resample", 2)
    if number not in _INTERPOLATIONS:
        raise PreprocessorError(f"resample: {number!r} is no interpolation; there is: 0 to 5")
    interpolation = _INTERPOLATIONS[number]
    asked = processor.get("size")
    cropping = bool(processor.get("do_center_crop")) and processor.get("crop_size") is not None
    crop = _square(processor["crop_size"], "crop_size") if cropping else None
    if not processor.get("do_resize", True):
        if crop is None:
            raise PreprocessorError("do_resize: without it and without a crop, the input has no fixed size")
        return crop, Preprocessing(size=crop, interpolation=interpolation)
    edge = _edge(asked, cropped=cropping)
    if edge is None:
        resized = _square(asked, "size")
        return crop or resized, Preprocessing(size=resized, interpolation=interpolation)
    share = processor.get("crop_pct")
    if share is not None and crop is None:
        if edge >= _CROPPED_BELOW:
            return (edge, edge), Preprocessing(size=(edge, edge), interpolation=interpolation)
        whole = int(edge / share)
        return (edge, edge), Preprocessing(shortest_edge=whole, interpolation=interpolation)
    if crop is None:
        raise PreprocessorError(
            "size: the shortest edge alone gives inputs of any size: set do_center_crop and crop_size"
        )
    return crop, Preprocessing(shortest_edge=edge, interpolation=interpolation)


def _edge(size: object, *, cropped: bool) -> int | None:
    """The length that the shortest edge of a picture gets, if `size` is about that."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        if "longest_edge" in size:
            raise PreprocessorError("size: a longest_edge gives inputs of any size: use height and width")
        return int(size["shortest_edge"])
    return size if isinstance(size, int) and cropped else None


def _square(size: object, name: str) -> tuple[int, int]:
    """(height, width)."""
    if isinstance(size, int):
        return size, size
    if (
        isinstance(size, Mapping)
        and isinstance(size.get("height"), int)
        and isinstance(size.get("width"), int)
    ):
        return size["height"], size["width"]
    raise PreprocessorError(f"{name}: {size!r} is neither a number nor height and width")


def _normalization(processor: Mapping[str, Any]) -> Normalization:
    """For pixels in [0, 1], of what is asked for in the scale that the file gives them, 0 to 255 if none."""
    scale = (
        255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    )
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    if not processor.get("do_normalize", True):
        return Normalization(mean=offset / scale, std=1 / scale)
    mean, std = (_list(processor, name) for name in ("image_mean", "image_std"))
    if processor.get("include_top"):  # of EfficientNet: it divides by the deviation twice
        std = [one * one for one in std]
    # (scale x - offset - mean) / std = (x - (mean + offset) / scale) / (std / scale)
    return Normalization(
        mean=tuple((one + offset) / scale for one in mean), std=tuple(one / scale for one in std)
    )


def _list(processor: Mapping[str, Any], name: str) -> list[float]:
    found = processor.get(name)
    numbers = [found] if isinstance(found, int | float) else found
    if not isinstance(numbers, list) or not all(isinstance(one, int | float) for one in numbers):
        raise PreprocessorError(f"{name}: {found!r} is no list of a number for each channel")
    return numbers
