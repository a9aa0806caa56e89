"""The pictures of a source as a data set to train on: read as the service will read them."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from index import Item
from models import Preprocessing
from models.datasets import ImageSet
from service.errors import Problem
from service.gallery.findings import Findings, Refusal, Source
from service.gallery.sources import files
from service.images import Picture, read_image

# Pictures that are looked at to see what they are like, evenly spread.
GLANCES = 100


@dataclass(frozen=True)
class PictureLimits:
    """Of an installation: the most pixels of a picture, and the least on a side."""

    max_pixels: int
    min_side: int


@dataclass(frozen=True)
class Appearance:
    """What pictures are like: the median (height, width), and whether any of them has colours."""

    size: tuple[int, int]
    colourful: bool


def look(findings: Findings, limits: PictureLimits) -> Appearance:
    """What the pictures are like, from some of them; those that cannot be read are passed over."""
    step = -(-len(findings.sources) // GLANCES)
    seen = [
        picture
        for source in findings.sources[::step]
        if isinstance(picture := _picture(source, (3, 4, 4), None, limits), Picture)
    ]
    if not seen:
        return Appearance((4, 4), colourful=True)  # whoever reads them all will say what is wrong with each
    width, height = (round(statistics.median(picture.size[axis] for picture in seen)) for axis in (0, 1))
    return Appearance((height, width), any(picture.colourful for picture in seen))


def training_set(
    findings: Findings,
    shape: tuple[int, int, int],
    preprocessing: Preprocessing | None,
    limits: PictureLimits,
    *,
    about: str,
    progress: Callable[[Iterable[Source]], Iterable[Source]] = lambda sources: sources,
) -> tuple[ImageSet, list[Refusal]]:
    """The pictures as inputs of `shape` (C, H, W), in 8 bits, and those that cannot be read.

    `about` them in a word or two. Metadata are kept where they are text.
    """
    kept: list[Item] = []
    refused: list[Refusal] = []
    pixels = np.empty((len(findings.sources), *shape), np.uint8)
    sizes: list[tuple[int, int]] = []
    for source in progress(findings.sources):
        picture = _picture(source, shape, preprocessing, limits)
        if isinstance(picture, Refusal):
            refused.append(picture)
            continue
        pixels[len(kept)] = np.rint(255 * picture.tensor)
        kept.append(source.item)
        sizes.append(picture.size)
    width, height = (round(statistics.median(size[axis] for size in sizes or [(1, 1)])) for axis in (0, 1))
    return ImageSet(
        pixels[: len(kept)],
        tuple(item.label for item in kept),
        tuple(item.id for item in kept),
        about=about,
        metadata=tuple(
            {name: value for name, value in item.metadata.items() if isinstance(value, str)} for item in kept
        ),
        original=(height, width),
    ), refused


def as_findings(data: ImageSet) -> Findings:
    """The images of a data set, each as a file at hand."""
    return Findings(tuple(Source(item, content=content, place=item.id) for item, content in files(data)))


def _picture(
    source: Source, shape: tuple[int, int, int], preprocessing: Preprocessing | None, limits: PictureLimits
) -> Picture | Refusal:
    try:
        return read_image(
            source.read(),
            shape,
            max_pixels=limits.max_pixels,
            min_side=limits.min_side,
            preprocessing=preprocessing,
        )
    except OSError as error:
        return Refusal(source.place, f"cannot be read: {error.strerror or error}")
    except Problem as error:
        return Refusal(source.place, str(error))
