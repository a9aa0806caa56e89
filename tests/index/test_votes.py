"""Votes: the nearest item of every point, and -1 where the point may be nearer to another one.

A vote that is wrong, or claimed where the point might be on the other side, voids a certificate.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import Item, Snapshot
from index.search import TIE
from index.votes import CANDIDATES, VOTES, Votes

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

seeded = settings(deadline=None, derandomize=True, database=None, max_examples=80)


def snapshot_of(vectors: Any, labels: Sequence[str], weight: float = 0.0) -> Snapshot:
    rows = np.array(vectors, np.float32)
    items = [Item(str(row), label) for row, label in enumerate(labels)]
    return Snapshot(1, items, list(rows), rows.shape[1], weight)


def brute_force(snapshot: Snapshot, points: Array, slack: float = 0.0) -> tuple[Votes, Rows]:
    """Votes in float64, and the nearest item of each point whether in doubt or not.

    A point is in doubt between its nearest item and another if the plane half-way between both is no farther
    than `slack`. That is the difference of its squared distances, over twice what the items are apart.
    """
    vectors = snapshot.exact(np.arange(len(snapshot)))
    squares = ((points[:, None, :] - vectors) ** 2).sum(axis=2)
    best = squares.argmin(axis=1)
    apart = np.linalg.norm(vectors[best][:, None, :] - vectors, axis=2)
    gaps = squares - squares.min(axis=1, keepdims=True)
    close = gaps <= 2 * apart * slack + TIE
    close[np.arange(len(points)), best] = False
    other = snapshot.labels != snapshot.labels[best][:, None]
    rows = np.where(close.any(axis=1), -1, best)
    return Votes(rows, np.where((close & other).any(axis=1), -1, snapshot.labels[best])), best


def assert_equal(found: Votes, expected: Votes) -> None:
    assert found.rows.dtype == found.labels.dtype == np.int64
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.labels.tolist() == expected.labels.tolist()


def assert_never_wrong(found: Votes, snapshot: Snapshot, points: Array, slack: float = 0.0) -> None:
    """What is claimed is true, and doubt is never less than it must be."""
    expected, _ = brute_force(snapshot, points, slack)
    for claimed, true in ((found.rows, expected.rows), (found.labels, expected.labels)):
        assert ((claimed == true) | (claimed == -1)).all()
    assert (found.labels[found.rows >= 0] == snapshot.labels[found.rows[found.rows >= 0]]).all()


# --- galleries in general position


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 200),
    dimension=st.integers(2, 16),
    labels=st.integers(1, 4),
    weight=st.sampled_from([0.0, 0.5]),
)
@seeded
def test_votes_are_those_of_brute_force(
    seed: int, size: int, dimension: int, labels: int, weight: float
) -> None:
    rng = np.random.default_rng(seed)
    names = [str(label) for label in rng.integers(0, labels, size)]
    snapshot = snapshot_of(rng.standard_normal((size, dimension)), names, weight)
    points = snapshot.lift(rng.standard_normal((30, dimension)))

    found = snapshot.votes(points)

    assert_equal(found, brute_force(snapshot, points)[0])
    # Two items as good as equally near are an accident; with a few items there is nothing else to doubt.
    assert np.mean(found.rows >= 0) > 0.9


@pytest.mark.parametrize("count", [1, VOTES - 1, VOTES, VOTES + 1, 2 * VOTES + 500])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_more_points_than_a_batch_vote_as_each_does_alone(count: int, weight: float) -> None:
    rng = np.random.default_rng(count)
    snapshot = snapshot_of(rng.standard_normal((300, 8)), [str(row % 7) for row in range(300)], weight)
    points = snapshot.lift(rng.standard_normal((count, 8)))
    some = rng.integers(0, count, 20)

    found = snapshot.votes(points)

    assert_equal(found, brute_force(snapshot, points)[0])
    alone = [snapshot.votes(points[row : row + 1]) for row in some]
    assert [int(votes.rows[0]) for votes in alone] == found.rows[some].tolist()


# --- galleries with ties


@given(data=st.data(), size=st.integers(1, CANDIDATES), slack=st.sampled_from([0.0, 0.25]))
@seeded
def test_of_as_many_items_as_are_looked_at_exactly_the_points_between_them_are_in_doubt(
    data: st.DataObject, size: int, slack: float
) -> None:
    grid = st.integers(-2, 2)
    pair = st.tuples(grid, grid)
    vectors = np.array(data.draw(st.lists(pair, min_size=size, max_size=size)), np.float64)
    names = data.draw(st.lists(st.sampled_from("ab"), min_size=size, max_size=size))
    snapshot = snapshot_of(vectors, names)
    points = np.array(data.draw(st.lists(pair, min_size=1, max_size=20)), np.float64) / 2

    assert_equal(snapshot.votes(points, slack), brute_force(snapshot, points, slack)[0])


@given(data=st.data(), size=st.integers(1, 60), weight=st.sampled_from([0.0, 0.5]))
@seeded
def test_a_gallery_full_of_ties_is_never_wrong(data: st.DataObject, size: int, weight: float) -> None:
    grid = st.integers(-2, 2)
    pair = st.tuples(grid, grid)
    vectors = data.draw(st.lists(pair, min_size=size, max_size=size))
    names = data.draw(st.lists(st.sampled_from("abc"), min_size=size, max_size=size))
    snapshot = snapshot_of(vectors, names, weight)
    points = snapshot.lift(np.array(data.draw(st.lists(pair, min_size=1, max_size=20))) / 2)

    for slack in (0.0, 0.1, 1.0):
        assert_never_wrong(snapshot.votes(points, slack), snapshot, points, slack)


def test_one_item_has_every_vote_wherever_the_point_is() -> None:
    snapshot = snapshot_of([[1, 2]], ["a"])
    points = np.array([[1, 2], [0, 0], [50, -50]], np.float64)

    for slack in (0.0, 10.0):
        found = snapshot.votes(points, slack)
        assert found.rows.tolist() == found.labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("labels", ["ab", "aa"])
def test_of_two_items_only_the_points_half_way_are_in_doubt(labels: str) -> None:
    snapshot = snapshot_of([[0, 0], [2, 0]], labels)
    points = np.array([[1, 0], [1, 7], [0.999, 0], [1.001, 0], [-3, 1], [9, 9]])

    found = snapshot.votes(points)

    assert found.rows.tolist() == [-1, -1, 0, 1, 0, 1]
    assert found.labels.tolist() == ([-1, -1, 0, 1, 0, 1] if labels == "ab" else [0] * 6)


def test_of_three_items_a_third_of_another_label_puts_the_label_in_doubt() -> None:
    snapshot = snapshot_of([[0, 0], [2, 0], [1, 1]], "aab")
    points = np.array([[1, 0], [1, -1], [1, 0.5], [0.5, 0.5], [1, 0.75]])

    found = snapshot.votes(points)

    # (1, 0) is as near to all three; (1, -1) is between the two a; (1/2, 1/2) between the first and b.
    assert found.rows.tolist() == [-1, -1, 2, -1, 2]
    assert found.labels.tolist() == [-1, 0, 1, -1, 1]


@pytest.mark.parametrize("copies", [2, 3, CANDIDATES - 1])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_twins_share_the_vote_for_their_label_and_none_has_one_of_its_own(copies: int, weight: float) -> None:
    rng = np.random.default_rng(1)
    others = 5 + rng.standard_normal((50, 4))
    snapshot = snapshot_of(np.concatenate([np.ones((copies, 4)), others]), "t" * copies + "o" * 50, weight)

    found = snapshot.votes(snapshot.lift(1 + 0.1 * rng.standard_normal((100, 4))), 1e-5)

    assert (found.rows == -1).all()
    assert (found.labels == snapshot.label_names.index("t")).all()


@pytest.mark.parametrize("copies", [2, 3, CANDIDATES - 1, CANDIDATES, CANDIDATES + 1, 40])
def test_twins_with_two_labels_have_no_vote_at_all(copies: int) -> None:
    vectors = np.concatenate([np.ones((copies, 4)), np.full((20, 4), 9.0)])
    snapshot = snapshot_of(vectors, ["one"] + ["two"] * (copies - 1) + ["other"] * 20)

    found = snapshot.votes(np.ones((3, 4)))

    assert found.rows.tolist() == found.labels.tolist() == [-1, -1, -1]


# --- how near is too near


@pytest.mark.parametrize("size", [2, 500])
@pytest.mark.parametrize("slack", [1e-6, 1e-5, 1e-3, 0.1])
def test_a_vote_is_in_doubt_up_to_slack_from_the_plane_half_way_and_not_beyond(
    slack: float, size: int
) -> None:
    rng = np.random.default_rng(2)
    pair = np.array([[0, 0, 0, 0], [3, 0, 4, 0]], np.float64)  # 5 apart
    far = 30 + rng.standard_normal((size - 2, 4))
    snapshot = snapshot_of(np.concatenate([pair, far]), ["a", "b"] + ["c"] * (size - 2))
    along, across = np.array([0.6, 0, 0.8, 0]), np.array([-0.8, 1, 0.6, 2])
    distances = slack * np.array([-1.01, -0.99, -0.5, 0.5, 0.99, 1.01])
    points = np.array([pair.mean(axis=0) + t * along + 0.1 * across for t in distances])

    found = snapshot.votes(points, slack)

    assert found.rows.tolist() == found.labels.tolist() == [0, -1, -1, -1, -1, 1]
    assert snapshot.votes(points).rows.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("slack", [1e-5, 0.01, 0.1])
def test_no_point_within_slack_of_one_that_votes_votes_otherwise(slack: float, weight: float) -> None:
    rng = np.random.default_rng(3)
    names = [str(label) for label in rng.integers(0, 4, 200)]
    vectors = np.abs(rng.standard_normal((200, 6)))
    snapshot = snapshot_of(vectors, names, weight)
    between = (vectors[rng.integers(0, 200, 400)] + vectors[rng.integers(0, 200, 400)]) / 2
    points = snapshot.lift(between + slack * rng.standard_normal(between.shape))

    found = snapshot.votes(points, slack)

    assert_never_wrong(found, snapshot, points, slack)
    assert (found.rows == -1).any() or slack < 1e-3
    assert (found.rows >= 0).any()
    # The worst moves: from the item that has the vote straight to each of the others.
    _, best = brute_force(snapshot, points)
    gallery = snapshot.exact(np.arange(200))
    for rival in range(0, 200, 2):
        towards = gallery[rival] - gallery[best]
        towards /= np.linalg.norm(towards, axis=1, keepdims=True) + 1e-30
        _, moved = brute_force(snapshot, points + 0.999999 * slack * towards)
        assert (moved == found.rows)[found.rows >= 0].all()
        assert (snapshot.labels[moved] == found.labels)[found.labels >= 0].all()


def test_a_point_below_the_resolution_of_float32_from_half_way_is_on_its_side() -> None:
    rng = np.random.default_rng(4)
    snapshot = snapshot_of(
        np.concatenate([[[1, 0], [1, 1]], 7 + rng.standard_normal((100, 2))]), "ab" + "c" * 100
    )
    offsets = np.array([-1e-8, 1e-8])
    assert np.float32(0.5) + np.float32(1e-8) == np.float32(0.5)

    found = snapshot.votes(np.stack([np.ones(2), 0.5 + offsets], axis=1))

    assert found.rows.tolist() == [0, 1]
    # Squared distances that are apart by less than float64 may have rounded are a tie.
    assert snapshot.votes(np.array([[1, 0.5 + TIE / 4]])).rows.tolist() == [-1]


class Expanding:
    """What FAISS does with many points at once: ||q||² - 2<q, r> + ||r||² in float32."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors

    def search(self, points: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], Rows]:
        squares = (points**2).sum(axis=1)[:, None] - 2 * points @ self.vectors.T
        squares += (self.vectors**2).sum(axis=1)
        rows = squares.argsort(axis=1, kind="stable")[:, :count]
        return np.take_along_axis(squares, rows, 1), rows


@pytest.mark.parametrize("offset", [0.0, 0.3, 3.0])
def test_more_near_ties_than_are_looked_at_are_doubt_and_never_a_guess(offset: float) -> None:
    rng = np.random.default_rng(5)
    snapshot = snapshot_of(offset + 0.2 + 1e-6 * rng.standard_normal((100, 64)), "ab" * 50)
    points = offset + 0.1 * rng.standard_normal((150, 64))
    expanding = Expanding(snapshot.vectors)

    assert_never_wrong(snapshot.votes(points), snapshot, points)
    snapshot._index = expanding
    assert_never_wrong(snapshot.votes(points), snapshot, points)
    # The control: far from 0 such an index misses the nearest item of most points.
    _, proposed = expanding.search(points.astype(np.float32), CANDIDATES)
    missed = (proposed != brute_force(snapshot, points)[1][:, None]).all(axis=1)
    assert missed.mean() > 0.5 or offset < 3


@pytest.mark.parametrize("slack", [0.003, 0.1])
def test_a_rival_behind_all_items_that_are_looked_at_is_not_forgotten(slack: float) -> None:
    turns = np.linspace(-1, 1, CANDIDATES)
    around = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (1 + 1e-4 * np.arange(CANDIDATES))[:, None]
    # 0.01 farther in its square, and twice 2.005 from the nearest: 0.0025 from the plane half-way.
    snapshot = snapshot_of(np.concatenate([around, [[-1.005, 0]]]), "a" * CANDIDATES + "b")
    origin = np.zeros((1, 2))

    assert snapshot.nearest(origin[0], CANDIDATES).rows.max() < CANDIDATES
    assert snapshot.votes(origin, slack).labels.tolist() == [-1]
    assert_never_wrong(snapshot.votes(origin), snapshot, origin)


def test_a_single_point_far_from_everything_still_has_its_nearest_item() -> None:
    snapshot = snapshot_of(np.eye(8), "abcdefgh")
    point = 100 * np.eye(8)[3:4]

    assert snapshot.votes(point).rows.tolist() == [3]
