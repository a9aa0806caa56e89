"""What is charged to α is never less than the truth: generators so small that all their bits can be tried."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from models.noise import noise_distance
from models.noise.distance import DRAWN, Precision, distance
from models.noise.normal import REFINED_BITS
from tests.certify.worlds import seeded


def drawn(bits: int, steps: float, push: float) -> NDArray[np.float64]:
    """The probabilities of whole numbers, from 0: of `bits` bits and a sign, each number `push` off."""
    p = (np.arange(2**bits) + 0.5) / 2 ** (bits + 1)
    exact = -ndtri(p)
    moved = exact + push * np.maximum(exact, 1) * np.where(np.arange(2**bits) % 2, 1, -1)
    counts = np.bincount(np.rint(np.maximum(moved, 0) * steps).astype(int))
    return counts / 2 ** (bits + 1) * np.where(np.arange(len(counts)) == 0, 2, 1)


def gaussian(count: int, steps: float) -> NDArray[np.float64]:
    """The same of rounded Gaussians."""
    borders = (np.arange(count + 1) - 0.5) / steps
    found = ndtr(-borders[:-1]) - ndtr(-borders[1:])
    found[0] = 1 - 2 * ndtr(-0.5 / steps)
    return np.asarray(found)


def one(bits: int, steps: float, push: float) -> float:
    """The total variation of one number."""
    p = drawn(bits, steps, push)
    q = gaussian(len(p), steps)
    weights = np.where(np.arange(len(p)) == 0, 1, 2)
    return float((weights * np.abs(p - q)).sum() / 2 + ndtr(-(len(p) - 0.5) / steps))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("steps", [2.0, 16.0])
@pytest.mark.parametrize("push", [0.0, 1e-4, 1e-2])
def test_the_distance_of_one_number_is_bounded(bits: int, steps: float, push: float) -> None:
    largest = -ndtri(0.25 / 2**bits) + 0.1
    precision = Precision(plain=2.0 ** -(bits + 2), refined=2.0 ** -(bits + 2), error=push, largest=largest)

    bound, true = distance(1, steps, precision), one(bits, steps, push)

    assert true <= bound
    # It is a bound, and not merely large.
    if push == 0:
        assert bound < 40 * true


def test_a_bound_that_forgets_what_numbers_are_off_is_seen_to_fail() -> None:
    """The control."""
    bits, steps, push = 16, 16.0, 0.1
    precision = Precision(2.0 ** -(bits + 2), 2.0 ** -(bits + 2), 0.0, 5.0)
    assert distance(1, steps, precision) < one(bits, steps, push)


def test_so_is_one_that_forgets_how_many_bits_there_are() -> None:
    precision = Precision(2.0**-65, 2.0**-97, 0.0, 5.0)
    assert distance(1, 16.0, precision) < one(8, 16.0, 0.0)


def point_by_point(numbers: int, steps: float, precision: Precision) -> float:
    """The bound of docs/certificate.md, with the borders and the mass of every grid point as they are."""
    borders = (np.arange(int(precision.largest * steps)) + 0.5) / steps
    error = precision.error * np.maximum(borders, 1)
    fine = np.where(ndtr(-borders) <= 2.0 ** (REFINED_BITS - 65), precision.refined, precision.plain)
    off = fine + error * np.exp(-(np.maximum(borders - error, 0) ** 2) / 2) / math.sqrt(2 * math.pi)
    points = off + np.append(off[0], off[:-1])  # of 0, 1, 2, ...
    masses = ndtr(-np.append(-borders[0], borders[:-1])) - ndtr(-borders)
    signs = np.where(np.arange(len(points)) == 0, 1, 2)
    beyond = np.cumsum((signs * points)[::-1])[::-1] + 2 * ndtr(-precision.largest)
    near = np.cumsum(signs * points**2 / masses)[:-1] + beyond[1:] ** 2 / (2 * ndtr(-borders[:-1]))
    apart = np.sqrt(np.expm1(np.minimum(numbers * np.log1p(near), 700))) / 2 + numbers * beyond[1:]
    return min(1.0, float(apart.min()))


PRECISIONS = {
    "few bits": Precision(2.0**-30, 2.0**-40, 0.0, 6.2),
    "few bits, not refined": Precision(2.0**-30, 2.0**-30, 0.0, 6.2),
    "rough numbers": Precision(2.0**-60, 2.0**-80, 1e-7, 9.0),
    "as served": DRAWN,
}


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("numbers", [1, 1000, 10**6])
def test_it_is_the_bound_of_the_proof(name: str, numbers: int) -> None:
    steps = 30_000.0
    exact = point_by_point(numbers, steps, PRECISIONS[name])
    assert exact <= distance(numbers, steps, PRECISIONS[name]) <= min(1.25 * exact, 1)


@pytest.mark.parametrize("count", [1, 4, 64])
def test_the_distance_of_several_numbers_is_bounded(count: int) -> None:
    """The best test of two laws from `count` numbers, by their likelihood, simulated."""
    bits, steps = 8, 8.0
    p = drawn(bits, steps, 0.0)
    q = gaussian(len(p), steps)
    rng = np.random.default_rng(0)
    gains = np.log(np.where(p > 0, p, 1e-300) / q)
    shares = []
    for law in (p, q / q.sum()):
        found = rng.choice(len(p), size=(20_000, count), p=law / law.sum())
        shares.append(float((gains[found].sum(axis=1) > 0).mean()))
    apart = shares[0] - shares[1] - 4 * math.sqrt(0.5 / 20_000)

    assert apart <= distance(count, steps, Precision(2.0**-10, 2.0**-10, 0.0, 3.2))


@seeded
@given(st.integers(1, 10**12), st.floats(0.01, 100), st.floats(1, 10))
def test_more_numbers_are_farther_and_never_beyond_1(numbers: int, sigma: float, times: float) -> None:
    near = noise_distance(numbers, sigma)
    assert 0 < near <= noise_distance(math.ceil(numbers * times), sigma) <= 1


@pytest.mark.parametrize(
    ("pixels", "samples", "sigma", "most"),
    [(64, 10_000, 0.25, 3e-7), (6912, 10_000, 0.25, 3e-6), (150_528, 100_000, 0.25, 4e-5)],
)
def test_what_is_served_is_near(pixels: int, samples: int, sigma: float, most: float) -> None:
    assert 0 < noise_distance(pixels * samples, sigma) < most


def test_for_more_numbers_than_all_that_could_be_drawn_nothing_is_promised() -> None:
    assert noise_distance(10**22, 1.0) == 1
