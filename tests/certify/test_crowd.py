"""A cluster's scalar is below the margin of each of its members, and each rival is somewhere once."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace, Rivals, Vectors
from certify.cdf import CDF
from certify.crowd import Crowd
from certify.pairs import pairs
from certify.points import Points
from certify.sequential import SequentialTest
from tests.certify.spaces import members, spaces
from tests.certify.worlds import briefly, seeded

Array = NDArray[np.float64]
seeds = st.integers(0, 2**32)


def in_clusters(rng: np.random.Generator, dimension: int, padded: bool = False) -> Vectors:
    """Some clusters of items that lie anywhere, of one member and of several, tight and wide."""
    sizes = rng.integers(1, 8, rng.integers(2, 9))
    centres = rng.standard_normal((len(sizes), dimension)) * 0.7
    rows = np.repeat(centres, sizes, axis=0)
    rows += 10 ** rng.uniform(-5, 0, (len(rows), 1)) * rng.standard_normal(rows.shape) * 0.3
    rows = rows.astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    own = np.stack([rows[a:b].mean(axis=0) for a, b in pairwise(starts)])
    of = np.repeat(np.arange(len(sizes)), sizes)
    distances = np.linalg.norm(rows.astype(np.float64) - own[of], axis=1)
    return Vectors(rows, starts, own, np.maximum.reduceat(distances, starts[:-1]) * (1 + 1e-9))


def crowd_of(seed: int, dimension: int, space: EmbeddingSpace) -> tuple[Crowd, Array, Array, Vectors]:
    """A crowd, samples of the space, and the point around which it was made."""
    rng = np.random.default_rng(seed)
    vectors = in_clusters(rng, dimension)
    samples = members(space, dimension, rng).astype(np.float32)[:128]
    behind = rng.random(len(vectors.rows)) < 0.8
    behind[0] = True
    winners = rng.standard_normal((rng.integers(1, 4), dimension)).astype(np.float32)
    point = samples[:50].mean(axis=0, dtype=np.float64)
    return Crowd(vectors, behind, winners, samples[:50], point, space), samples, point, vectors


@seeded
@given(spaces, seeds, st.integers(2, 9))
def test_the_scalar_of_a_cluster_is_below_every_member_at_every_sample(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    """Also when each sample is off by the slack; and the lower end is below all of the space."""
    crowd, samples, point, vectors = crowd_of(seed, dimension, space)
    exact = samples.astype(np.float64)
    spread = Points.of(samples, point).spread.astype(np.float64)
    bounds = crowd.pairs
    scalars = bounds.weights.astype(np.float64) @ exact.T - (bounds.offsets + bounds.loss)[:, None]
    scalars -= bounds.reach[:, None] * spread
    assert crowd.counts.sum() == crowd.rivals.sum()
    for place in range(len(crowd.clusters)):
        rows = crowd.members(np.array([place]))
        assert len(rows) == crowd.counts[place] > 0
        centre = vectors.centres[crowd.clusters[place]].astype(np.float64)
        weight = bounds.weights[place].astype(np.float64)
        winner = min(crowd.winners, key=lambda w: float(np.abs(w - centre - weight).max())).astype(np.float64)
        for row in rows:
            rival = vectors.rows[row].astype(np.float64)
            true = ((exact - rival) ** 2).sum(axis=1) / 2 - ((exact - winner) ** 2).sum(axis=1) / 2
            slack = space.slack * float(np.linalg.norm(winner - rival))
            assert (scalars[place] <= true - slack + 1e-6).all()
            assert bounds.lower[place] <= true.min() + 1e-6


def test_the_scalar_is_attained_by_a_member_at_the_end_of_its_cluster() -> None:
    """On a line, seen from p: the member that lies towards the sample."""
    rows = np.array([[-0.5], [-0.75]], np.float32)
    vectors = Vectors(rows, np.array([0, 2]), np.array([[-0.625]], np.float32), np.array([0.125]))
    point = np.array([0.25])
    winner, sample = np.array([[0.5]], np.float32), np.array([[0.25]], np.float32)
    crowd = Crowd(vectors, np.ones(2, np.bool_), winner, sample,
                  point, EmbeddingSpace())  # fmt: skip
    bounds = crowd.pairs
    for value, member in ((-0.25, -0.5), (0.25, -0.5)):
        spread = abs(value - 0.25)
        scalar = bounds.weights[0, 0] * value - bounds.offsets[0] - bounds.reach[0] * spread
        true = ((value - member) ** 2 - (value - 0.5) ** 2) / 2
        # In p itself nothing is lost; beside it, as much as the member would lose twice over, at most.
        assert true - 2 * 0.125 * spread - 1e-6 <= scalar <= true + 1e-6


@briefly
@given(seeds)
def test_opened_members_are_the_rivals_one_by_one(seed: int) -> None:
    space = EmbeddingSpace()
    crowd, _, _, _ = crowd_of(seed, 4, space)
    rows = crowd.members(np.arange(len(crowd.clusters)))
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(crowd.rivals))
    opened = crowd.opened(rows)
    some = np.random.default_rng(seed).permutation(len(rows))[: max(1, len(rows) // 2)]
    again = crowd.opened(rows[some])
    for name in ("weights", "offsets", "lower", "loss", "norms"):
        np.testing.assert_array_equal(getattr(again, name), getattr(opened, name)[some])
    rest = crowd.without(np.arange(len(crowd.clusters)) == 0)
    assert len(rest.clusters) == len(crowd.clusters) - 1
    np.testing.assert_array_equal(rest.pairs.offsets, crowd.pairs.offsets[1:])


@briefly
@given(seeds, st.sampled_from([0, 1, 5, 10, 1000]))
def test_every_rival_is_bet_on_alone_or_in_the_crowd_and_only_once(seed: int, singles: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = in_clusters(rng, 3)
    samples = 0.5 * rng.standard_normal((128, 3))
    samples /= np.maximum(np.linalg.norm(samples, axis=1, keepdims=True), 1)
    behind = rng.random(len(vectors.rows)) < 0.7
    rivals = Rivals(vectors.rows[:2], vectors, behind, samples.mean(axis=0), singles)
    singles_, crowd, points = rivals.divided(samples, EmbeddingSpace())
    assert len(points) == 128
    alone = len(singles_)
    together = 0 if crowd is None else int(crowd.counts.sum())
    assert alone + together == behind.sum()
    assert alone >= min(singles, behind.sum())
    if singles == 1000:
        assert crowd is None


def test_distances_are_those_of_the_rivals_nearest_first() -> None:
    rng = np.random.default_rng(3)
    vectors = in_clusters(rng, 3)
    behind = rng.random(len(vectors.rows)) < 0.7
    point = rng.standard_normal(3)
    rows, distances = Rivals(vectors.rows[:1], vectors, behind, point).distances(point)
    expected = np.linalg.norm(vectors.rows[behind].astype(np.float64) - point, axis=1)
    np.testing.assert_allclose(distances, np.sort(expected), rtol=1e-15)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(behind))


@pytest.mark.parametrize("place", ["winners", "rows", "centre"])
def test_finite_unless_some_number_is_not(place: str) -> None:
    numbers = {name: np.zeros((1, 2), np.float32) for name in ("winners", "rows", "centre")}
    numbers[place][0, 1] = np.nan
    rivals = Rivals(
        numbers["winners"], Vectors.flat(numbers["rows"]), np.ones(1, np.bool_), numbers["centre"][0]
    )
    assert not rivals.finite
    assert Rivals.of(np.zeros((1, 2)), np.zeros((3, 2)), np.zeros(2)).finite


def test_a_crowd_in_doubt_is_looked_at_though_nobody_outside_it_is() -> None:
    """All who are bet on one by one are safe whatever comes: clusters decide, no radius is infinite."""
    rows = np.array([[-0.5, 0.1], [-0.5, -0.1], [-0.6, 0.2], [-0.6, -0.2]], np.float32)
    vectors = Vectors(rows, np.array([0, 2, 4]), rows[::2] * [1, 0], np.full(2, 0.21))
    winner, centre = np.array([[0.9, 0.0]], np.float32), np.array([0.8, 0.0])
    samples = np.tile(np.array([[0.8, 0.0]], np.float32), (1000, 1))
    crowd = Crowd(vectors, np.ones(4, np.bool_), winner, samples[:128], centre, EmbeddingSpace())
    safe = replace(pairs(winner, rows[:1], np.zeros(1, np.int64), EmbeddingSpace()), lower=np.ones(1))
    options = {"horizon": 1000, "alpha": 0.01, "comparisons": 10**6}
    points, selection = Points.of(samples, centre), Points.of(samples[:128], centre)
    found = SequentialTest(safe, CDF, selection, crowd=crowd, **options).reached(points).rho
    alone = pairs(np.repeat(winner, 4, axis=0), rows, np.arange(4), EmbeddingSpace())
    assert 0 < found < np.inf
    assert found == SequentialTest(alone, CDF, selection, **options).reached(points).rho
