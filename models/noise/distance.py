"""How far the noise is from a Gaussian at most, in total variation: what is charged to α for it."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from models.noise.grid import grid_step
from models.noise.normal import ERROR, LARGEST_NUMBER, REFINED_BITS

# Parts into which numbers are divided, in each of which the worst is taken; fewer, if grid points are few.
PARTS = 4096
# Sums of so many float64 numbers, and what they are made of, are off by less than this share.
ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class Precision:
    """How fine numbers are.

    plain    how far the probability of a tail may be from what numbers without error would have
    refined  the same where numbers are refined
    error    how far a number may be from the exact one, in units of the larger of it and 1
    largest  no number is larger
    """

    plain: float
    refined: float
    error: float
    largest: float


# Half of what a value of v stands for, the sign's bit included.
DRAWN = Precision(plain=2.0**-65, refined=2.0**-97, error=ERROR, largest=LARGEST_NUMBER)


@lru_cache(maxsize=256)
def noise_distance(numbers: int, sigma: float) -> float:
    """An upper bound on the total variation between so many numbers of noise and rounded N(0, σ²).

    What is certified for Gaussian noise with probability 1 - α holds for this noise with 1 - α less that: for
    all that `numbers` numbers decide together. ChaCha20 is taken for what it stands for, uniform bits.
    """
    return distance(numbers, sigma / grid_step(sigma), DRAWN)


def distance(numbers: int, steps: float, precision: Precision) -> float:
    """That for numbers which are `steps` grid points a standard deviation (docs/certificate.md, Numbers).

    Near 0, where mass is, by the chi-square divergence, which grows with the root of `numbers`; in the tails
    by the sum of what the probabilities of all grid points are off.
    """
    parts = min(PARTS, max(2, int(precision.largest * steps)))
    edges = np.linspace(0, precision.largest, parts + 1)
    # The points of a part end half a step before or behind it.
    left, right = np.maximum(edges[:-1] - 1 / steps, 0), edges[1:] + 1 / steps
    cell = np.where(ndtr(-left) <= 2.0 ** (REFINED_BITS - 65), precision.refined, precision.plain)
    error = precision.error * np.maximum(right, 1)
    tail_off = cell + error * _density(np.maximum(left - error, 0))
    points = 2 * (np.diff(edges) * steps + 1)
    point_off, least = 2 * tail_off, _density(right) / steps
    # For each border between what is near and what is tail.
    tail = np.cumsum((points * point_off)[::-1])[::-1] + 2 * ndtr(-precision.largest)
    near = np.cumsum(points * point_off**2 / least)[:-1]
    near += tail[1:] ** 2 / (2 * ndtr(-edges[1:-1] - 1 / steps))
    with np.errstate(over="ignore"):
        together = np.sqrt(np.expm1(numbers * np.log1p(near))) / 2 + numbers * tail[1:]
    return min(float(together.min()) * ROUNDING, 1.0)


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
