"""Pillow's resize along one axis: the matrix that it is, and how much it can enlarge a change.

Pillow resizes a float picture along its rows, then along its columns, each by the same few weights for every
row. So resizing is one linear map, X -> D X Aᵀ, and its norms are products of those of D and A. The weights
are those of Pillow's Resample.c, in float64 as there; that they are is looked at for each axis.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from scipy.linalg import LinAlgError, cholesky_banded
from scipy.sparse import csr_array

# The longest side of which a matrix is made: that of JPEG. Time and memory are in proportion to it.
LONGEST_SIDE = 65_536
# Norms are raised by this share: far more than float64 rounds on the way (docs/certificate.md, §11).
MARGIN = 1e-6
# Sides and filters whose gains are kept: photos come in few sizes.
_KEPT = 1_024
# Of the interval in which the norm is sought.
_HALVINGS = 24
# Rows of random pixels by which a matrix is compared with Pillow, and by how much float32 may be off.
_PROBES, _APART = 4, 1e-5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One side of a picture, `before` pixels long; what lies from `start` to `end` becomes `after` pixels."""

    before: int
    after: int
    start: float
    end: float
    filter: Resampling

    @property
    def unchanged(self) -> bool:
        """Whether every pixel stays as it is."""
        return self.before == self.after and (self.start, self.end) == (0, self.before)


@dataclass(frozen=True)
class Gains:
    """How much larger the change of a row can be after resizing, than that of what it was made of.

    l2      the largest singular value: the l2 length of the change, over that of any change
    single  the l2 length, over a change of one pixel by 1
    even    the largest change of one pixel, over that of any
    """

    l2: float
    single: float
    even: float


@functools.lru_cache(_KEPT)
def gains(axis: Axis) -> Gains | None:
    """Upper bounds; None if the side is longer than `LONGEST_SIDE`, or Pillow resizes otherwise."""
    if axis.unchanged:
        return Gains(1.0, 1.0, 1.0)
    if axis.before > LONGEST_SIDE:
        return None
    made = matrix(axis)
    if not _as_pillow_does(axis, made):
        return None
    up = 1 + MARGIN
    return Gains(
        up * largest_singular_value(made),
        up * float(np.sqrt(made.power(2).sum(axis=0).max())),
        up * float(abs(made).sum(axis=1).max()),
    )


def matrix(axis: Axis) -> csr_array:
    """The weights (after, before) by which pixels become pixels."""
    if axis.filter == Resampling.NEAREST:
        return _picked(axis)
    weigh, support = _FILTERS[axis.filter]
    # Pillow takes the box in single precision.
    start, end = np.float32(axis.start), np.float32(axis.end)
    scale = float(end - start) / axis.after
    reach = support * max(scale, 1.0)
    centres = float(start) + (np.arange(axis.after) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), axis.before)
    places = first[:, None] + np.arange((last - first).max())
    weights = weigh((places - centres[:, None] + 0.5) * (1 / max(scale, 1.0)))
    weights[places >= last[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    rows, columns = np.nonzero(weights)
    return csr_array((weights[rows, columns], (rows, places[rows, columns])), shape=(axis.after, axis.before))


def largest_singular_value(of: csr_array) -> float:
    """An upper bound in float64, at most 2⁻²⁴ above the truth in proportion, but for rounding.

    λ is at least the largest eigenvalue of a Gram matrix G if λI - G has a Cholesky factor: halving finds the
    smallest such λ. G is banded, as only neighbours share pixels.
    """
    gram = (of @ of.T if of.shape[0] <= of.shape[1] else of.T @ of).tocoo()
    width = int(abs(gram.row - gram.col).max())
    band = np.zeros((width + 1, gram.shape[0]))
    for below in range(width + 1):
        band[below, : gram.shape[0] - below] = -gram.diagonal(-below)
    low, high = -float(band[0].min()), float(abs(gram).sum(axis=1).max()) * (1 + MARGIN)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shifted = band.copy()
        shifted[0] += middle
        try:
            cholesky_banded(shifted, lower=True, overwrite_ab=True)
            high = middle
        except LinAlgError:
            low = middle
    return float(np.sqrt(high))


def _picked(axis: Axis) -> csr_array:
    """Of a filter that takes the nearest pixel: which one, Pillow is asked."""
    numbers = _resized(np.arange(axis.before, dtype=np.float32)[None], axis)[0].astype(np.int64)
    return csr_array((np.ones(axis.after), (np.arange(axis.after), numbers)), shape=(axis.after, axis.before))


def _as_pillow_does(axis: Axis, made: csr_array) -> bool:
    rows = np.random.default_rng(0).random((_PROBES, axis.before), dtype=np.float32)
    found, expected = _resized(rows, axis), (made @ rows.T.astype(np.float64)).T
    return bool(np.abs(found - expected).max() <= _APART)


def _resized(rows: NDArray[np.float32], axis: Axis) -> NDArray[np.float32]:
    """The `rows` (n, before), resized by Pillow to (n, after)."""
    box = (axis.start, 0, axis.end, len(rows))
    return np.asarray(Image.fromarray(rows).resize((axis.after, len(rows)), axis.filter, box=box))


def _box(x: Array) -> Array:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: Array) -> Array:
    weights: Array = (np.abs(x) < 1) * (1 - np.abs(x))
    return weights


def _hamming(x: Array) -> Array:
    return (np.abs(x) < 1) * np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x))


def _bicubic(x: Array) -> Array:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, -0.5 * (((x - 5) * x + 8) * x - 4)
    return (x < 1) * near + ((x >= 1) & (x < 2)) * far


def _lanczos(x: Array) -> Array:
    return ((x >= -3) & (x < 3)) * np.sinc(x) * np.sinc(x / 3)


# The weight of a pixel at a distance, and the distance from which on it is 0.
_FILTERS: dict[Resampling, tuple[Callable[[Array], Array], float]] = {
    Resampling.BOX: (_box, 0.5),
    Resampling.BILINEAR: (_bilinear, 1),
    Resampling.HAMMING: (_hamming, 1),
    Resampling.BICUBIC: (_bicubic, 2),
    Resampling.LANCZOS: (_lanczos, 3),
}
