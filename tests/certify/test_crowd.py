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
    radii = np.maximum.reduceat(distances, starts[:-1]) * (1 + 1e-9)
    groups = np.flatnonzero(np.append(rng.random(len(sizes)) < 0.5, True))
    return Vectors(rows, starts, own, radii, np.unique([0, *groups]))


def crowd_of(seed: int, dimension: int, space: EmbeddingSpace) -> tuple[Crowd, Array, Array, Vectors]:
    """A crowd, samples of the space, and the point around which it was made."""
    rng = np.random.default_rng(seed)
    vectors = in_clusters(rng, dimension)
    samples = members(space, dimension, rng).astype(np.float32)[:128]
    behind = rng.random(len(vectors.rows)) < 0.8
    behind[0] = True
    winners = rng.standard_normal((rng.integers(1, 4), dimension)).astype(np.float32)
    point = samples[:50].mean(axis=0, dtype=np.float64)
    return Crowd.of(vectors, behind, winners, samples[:50], point, space), samples, point, vectors


@seeded
@given(spaces, seeds, st.integers(2, 9))
def test_the_scalar_of_a_cluster_is_below_every_member_at_every_sample(
    space: EmbeddingSpace, seed: int, dimension: int
) -> None:
    """Also when each sample is off by the slack; and the lower end is below all of the space."""
    crowd, samples, point, vectors = crowd_of(seed, dimension, space)
    opened = crowd.scattered(np.arange(len(crowd.groups)))
    assert not len(opened.groups)
    balls = vectors.grouped
    for closed, level in ((crowd.groups, balls), (opened.clusters, vectors.clusters)):
        assert closed.counts.sum() == crowd.rivals.sum()
        exact = samples.astype(np.float64)
        spread = Points.of(samples, point).spread.astype(np.float64)
        bounds = closed.pairs
        scalars = bounds.weights.astype(np.float64) @ exact.T - (bounds.offsets + bounds.loss)[:, None]
        scalars -= bounds.reach[:, None] * spread
        for place, number in enumerate(closed.numbers):
            rows = np.arange(level.starts[number], level.starts[number + 1])
            rows = rows[crowd.rivals[rows]]
            assert len(rows) == closed.counts[place] > 0
            winner = crowd.winners[closed.chosen[place]].astype(np.float64)
            for row in rows:
                rival = vectors.rows[row].astype(np.float64)
                true = ((exact - rival) ** 2).sum(axis=1) / 2 - ((exact - winner) ** 2).sum(axis=1) / 2
                slack = space.slack * float(np.linalg.norm(winner - rival))
                assert (scalars[place] <= true - slack + 1e-6).all()
                assert bounds.lower[place] <= true.min() + 1e-6


@seeded
@given(seeds, st.integers(1, 9))
def test_no_vector_of_a_group_is_farther_from_its_centre_than_its_radius(seed: int, dimension: int) -> None:
    vectors = in_clusters(np.random.default_rng(seed), dimension)
    balls = vectors.grouped
    assert (balls.starts[0], balls.starts[-1]) == (0, len(vectors.rows))
    for number, (first, last) in enumerate(pairwise(balls.starts)):
        exact = vectors.rows[first:last].astype(np.float64)
        gaps = np.linalg.norm(exact - balls.centres[number].astype(np.float64), axis=1)
        assert gaps.max() <= balls.radii[number]
        halves = (exact**2).sum(axis=1) / 2
        assert (balls.lowest[number], balls.highest[number]) == (
            pytest.approx(halves.min()), pytest.approx(halves.max())
        )  # fmt: skip


def test_a_crowd_is_scattered_group_by_group_as_it_is_at_once() -> None:
    crowd, *_ = crowd_of(5, 4, EmbeddingSpace())
    whole = crowd.scattered(np.arange(len(crowd.groups)))
    assert len(crowd.groups) > 2
    step = crowd.scattered(np.array([1])).scattered(np.array([0]))
    rest = step.scattered(np.ones(len(step.groups), np.bool_))
    order = np.argsort(rest.clusters.numbers)
    np.testing.assert_array_equal(rest.clusters.numbers[order], whole.clusters.numbers)
    np.testing.assert_array_equal(rest.clusters.pairs.offsets[order], whole.clusters.pairs.offsets)


def test_the_scalar_is_attained_by_a_member_at_the_end_of_its_cluster() -> None:
    """On a line, seen from p: the member that lies towards the sample."""
    rows = np.array([[-0.5], [-0.75]], np.float32)
    one = np.array([0, 1])
    vectors = Vectors(rows, 2 * one, np.array([[-0.625]], np.float32), np.array([0.125]), one)
    point = np.array([0.25])
    winner, sample = np.array([[0.5]], np.float32), np.array([[0.25]], np.float32)
    crowd = Crowd.of(vectors, np.ones(2, np.bool_), winner, sample, point, EmbeddingSpace())
    bounds = crowd.scattered(np.array([0])).clusters.pairs
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
    crowd = crowd.scattered(np.arange(len(crowd.groups)))
    rows = crowd.members(crowd.clusters)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(crowd.rivals))
    opened = crowd.opened(rows)
    some = np.random.default_rng(seed).permutation(len(rows))[: max(1, len(rows) // 2)]
    again = crowd.opened(rows[some])
    for name in ("weights", "offsets", "lower", "loss", "norms"):
        np.testing.assert_array_equal(getattr(again, name), getattr(opened, name)[some])
    rest = crowd.without(np.arange(len(crowd.clusters)) == 0)
    assert len(rest.clusters) == len(crowd.clusters) - 1
    np.testing.assert_array_equal(rest.clusters.pairs.offsets, crowd.clusters.pairs.offsets[1:])


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
    together = 0 if crowd is None else int(crowd.groups.counts.sum() + crowd.clusters.counts.sum())
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
    each = np.arange(3)
    vectors = Vectors(rows, 2 * each, rows[::2] * np.float32([1, 0]), np.full(2, 0.21), each)
    winner, centre = np.array([[0.9, 0.0]], np.float32), np.array([0.8, 0.0])
    samples = np.tile(np.array([[0.8, 0.0]], np.float32), (1000, 1))
    crowd = Crowd.of(vectors, np.ones(4, np.bool_), winner, samples[:128], centre, EmbeddingSpace())
    safe = replace(pairs(winner, rows[:1], np.zeros(1, np.int64), EmbeddingSpace()), lower=np.ones(1))
    options = {"horizon": 1000, "alpha": 0.01, "comparisons": 10**6}
    points, selection = Points.of(samples, centre), Points.of(samples[:128], centre)
    found = SequentialTest(safe, CDF, selection, crowd=crowd, **options).reached(points).rho
    alone = pairs(np.repeat(winner, 4, axis=0), rows, np.arange(4), EmbeddingSpace())
    assert 0 < found < np.inf
    assert found == SequentialTest(alone, CDF, selection, **options).reached(points).rho
