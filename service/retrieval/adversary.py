"""An adversary who knows all but the noise: climbs a margin by projected gradient with momentum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import SmoothedMargin

Pixels = NDArray[np.float32]

MOMENTUM = 0.9
# A run goes further than its steps add up to, as the ball bends them back.
REACH = 2.5
# Draws by which the runs of one attack are compared, in those of a step.
COMPARED = 4
# Below it a length is none.
TINY = 1e-12


@dataclass(frozen=True)
class Effort:
    """How hard an attack tries: `restarts` runs of `steps`, each step on so many noise `draws`."""

    restarts: int = 2
    steps: int = 20
    draws: int = 64


def perturbed(
    margin: SmoothedMargin,
    image: Pixels,
    size: float,
    effort: Effort,
    *,
    seed: int = 0,
    start: Pixels | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> Pixels:
    """The `image`, moved by at most `size` (l2) inside [0, 1], where `margin` is as large as it gets.

    The first run begins at the image moved by `start`, the others on random sides of it, drawn from `seed`;
    the best of them is returned. It stops early when that is `enough`, which is asked before each step.
    """
    generator = np.random.default_rng(seed)
    found = []
    for run in range(effort.restarts):
        if run:
            side = generator.standard_normal(image.shape)
            first = _inside(image, side * (size / 2 / np.linalg.norm(side)), size)
        else:
            first = np.zeros_like(image) if start is None else _inside(image, start, size)
        found.append(_climbed(margin, image, first, size, effort, enough))
        if enough():
            break
    if len(found) > 1:
        found.sort(key=lambda delta: margin.value(image + delta, COMPARED * effort.draws))
    moved: Pixels = (image + found[-1]).clip(0, 1)
    return moved


def _climbed(
    margin: SmoothedMargin,
    image: Pixels,
    delta: Pixels,
    size: float,
    effort: Effort,
    enough: Callable[[], bool],
) -> Pixels:
    """Where a run ends that begins at `image` moved by `delta`."""
    velocity = np.zeros_like(image)
    for _ in range(effort.steps):
        if enough():
            break
        velocity = MOMENTUM * velocity + _unit(margin.gradient(image + delta, effort.draws))
        delta = _inside(image, delta + _unit(velocity) * (REACH * size / effort.steps), size)
    return delta


def _unit(vector: Pixels) -> Pixels:
    unit: Pixels = vector / max(float(np.linalg.norm(vector)), TINY)
    return unit


def _inside(image: Pixels, delta: NDArray[np.floating], size: float) -> Pixels:
    """`delta`, cut to a length of `size`, and to [0, 1]: which makes it no longer, as `image` is in it."""
    cut = delta * min(size / max(float(np.linalg.norm(delta)), TINY), 1.0)
    inside: Pixels = ((image + cut).clip(0, 1) - image).astype(np.float32)
    return inside
