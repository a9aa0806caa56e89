"""Blended vectors: an item's distance is partly its label's, in the gallery and in every search of it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import Gallery, Item, Snapshot
from index.blending import blend, lift
from tests.index.items import MODEL, new

Array = NDArray[np.float64]
Vectors = NDArray[np.float32]

seeded = settings(deadline=None, derandomize=True, database=None, max_examples=60)

WEIGHTS = st.sampled_from([0.01, 0.25, 0.5, 0.7, 0.99])


def world(
    seed: int, size: int, dimension: int, labels: int, spread: float = 1.0
) -> tuple[Vectors, NDArray[np.int64], Array]:
    """Vectors, labels and 7 points, as far from 0 as embeddings are."""
    rng = np.random.default_rng(seed)
    vectors = (1 + spread * rng.standard_normal((size, dimension))).astype(np.float32)
    points = 1 + spread * rng.standard_normal((7, dimension))
    return vectors, rng.integers(0, labels, size), points


def plain_squares(vectors: Vectors, points: Array) -> Array:
    """||v - r_i||² (n, N) in float64."""
    squares: Array = ((points[:, None, :] - vectors.astype(np.float64)) ** 2).sum(axis=2)
    return squares


def blended_squares(vectors: Vectors, labels: NDArray[np.int64], points: Array, weight: float) -> Array:
    """(1 - w) ||v - r_i||² + w mean_j ||v - r_j||² (n, N), written down again."""
    squares = plain_squares(vectors, points)
    of_label = np.stack([squares[:, labels == label].mean(axis=1) for label in labels], axis=1)
    blended: Array = (1 - weight) * squares + weight * of_label
    return blended


def rounding(squares: Array, vectors: Vectors) -> Array:
    """How far blended squares may be off: by 2 ||p - b|| ||error of b||, b rounded to float32."""
    size = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0))
    error = 2.0**-23 * (1 + size)
    bound: Array = 2 * np.sqrt(squares) * error + error**2 + 1e-14 * (1 + size**2)
    return bound


# --- the vectors


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 60),
    dimension=st.integers(1, 12),
    labels=st.integers(1, 5),
    spread=st.sampled_from([1e-4, 1.0, 100.0]),
    weight=WEIGHTS,
)
@seeded
def test_a_squared_distance_blends_that_of_the_item_and_the_mean_of_its_label(
    seed: int, size: int, dimension: int, labels: int, spread: float, weight: float
) -> None:
    vectors, codes, points = world(seed, size, dimension, labels, spread)

    blended = blend(vectors, codes, weight)
    squares = ((lift(points)[:, None, :] - blended.astype(np.float64)) ** 2).sum(axis=2)

    expected = blended_squares(vectors, codes, points, weight)
    assert blended.dtype == np.float32
    assert blended.shape == (size, dimension + 1)
    assert (np.abs(squares - expected) <= rounding(expected, vectors)).all()


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 60), labels=st.integers(1, 3), weight=WEIGHTS)
@seeded
def test_gaps_between_items_of_a_label_shrink_by_one_factor_and_never_change_sides(
    seed: int, size: int, labels: int, weight: float
) -> None:
    vectors, codes, points = world(seed, size, 6, labels)
    vectors[1::3] = vectors[0]  # the same image again and again, under labels of its own and of others
    plain = plain_squares(vectors, points)
    blended = blend(vectors, codes, weight)
    squares = ((lift(points)[:, None, :] - blended.astype(np.float64)) ** 2).sum(axis=2)

    for label in range(labels):
        rows = np.flatnonzero(codes == label)
        before = plain[:, rows, None] - plain[:, None, rows]
        after = squares[:, rows, None] - squares[:, None, rows]
        slack = 2 * rounding(squares[:, rows], vectors).max(initial=0)
        assert (np.abs(after - (1 - weight) * before) <= slack).all()
        apart = (1 - weight) * np.abs(before) > slack
        assert (np.sign(after) == np.sign(before))[apart].all()
        # Items that are equal stay equal, to the last bit: ties are settled by row, as before.
        same = (vectors[rows, None] == vectors[None, rows]).all(axis=2)
        assert ((blended[rows, None] == blended[None, rows]).all(axis=2) == same).all()


def test_a_weight_of_0_leaves_the_vectors_as_they_are() -> None:
    vectors, labels, _ = world(1, 40, 8, 4)

    blended = blend(vectors, labels, 0.0)

    assert np.array_equal(blended[:, :-1], vectors)
    assert not blended[:, -1].any()


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.5, 0.9])
def test_an_item_alone_with_its_label_stays_where_it_is(weight: float) -> None:
    vectors, _, _ = world(2, 40, 8, 1)

    blended = blend(vectors, np.arange(40), weight)

    assert np.array_equal(blended[:, :-1], vectors)
    # The square root of what float64 rounds of a square.
    assert np.abs(blended[:, -1]).max() < 1e-7


def test_items_of_one_place_stay_there_however_many_they_are() -> None:
    vectors = np.repeat(np.array([[0.6, 0.8], [0.1, 0.2]], np.float32), 500, axis=0)

    blended = blend(vectors, np.repeat([0, 1], 500), 0.5)

    np.testing.assert_allclose(blended[:, :-1], vectors, atol=1e-7)
    assert np.abs(blended[:, -1]).max() < 1e-6


def test_an_outlier_no_longer_speaks_for_its_label_alone() -> None:
    vectors = np.array([[0], [0], [0], [9], [10], [12]], np.float32)
    items = [Item(str(row), label) for row, label in enumerate("aaaabb")]
    point = np.array([[9.4]])

    plain, blended = (Snapshot(1, items, list(vectors), 1, weight) for weight in (0.0, 0.5))
    nearest = [snapshot.nearest(snapshot.lift(point)[0], 1).rows[0] for snapshot in (plain, blended)]

    assert [items[row].label for row in nearest] == ["a", "b"]


def test_the_last_number_is_what_two_items_of_a_label_are_apart() -> None:
    # w = 1/2, r = ±1: b = ±1/2, and ||v - b||² + last² = (v -+ 1)²/2 + (v² + 1)/2 gives last² = 3/4.
    blended = blend(np.array([[1], [-1]], np.float32), np.array([0, 0]), 0.5)

    np.testing.assert_allclose(blended, [[0.5, np.sqrt(0.75)], [-0.5, np.sqrt(0.75)]], atol=1e-7)


def test_no_items_are_no_vectors_one_number_longer() -> None:
    blended = blend(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), 0.5)

    assert (blended.shape, blended.dtype) == ((0, 4), np.float32)


def test_the_vectors_that_are_blended_are_left_alone() -> None:
    vectors, labels, _ = world(3, 20, 4, 2)
    copy = vectors.copy()
    vectors.setflags(write=False)

    blend(vectors, labels, 0.5)

    assert np.array_equal(vectors, copy)


def test_a_lifted_point_is_the_point_with_a_0_behind_it() -> None:
    points = np.random.default_rng(4).standard_normal((5, 3)).astype(np.float32)

    lifted = lift(points)

    assert (lifted.dtype, lifted.shape) == (np.float64, (5, 4))
    assert np.array_equal(lifted[:, :3], points)
    assert not lifted[:, 3].any()
    assert lift(points[:0]).shape == (0, 4)


# --- a snapshot of them


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 150),
    labels=st.integers(1, 4),
    weight=WEIGHTS,
    count=st.integers(1, 12),
)
@seeded
def test_searches_of_a_blended_gallery_are_those_of_brute_force(
    seed: int, size: int, labels: int, weight: float, count: int
) -> None:
    vectors, codes, points = world(seed, size, 6, labels)
    items = [Item(str(row), f"label {code}") for row, code in enumerate(codes)]
    snapshot = Snapshot(1, items, list(vectors), 6, weight)
    expected = blended_squares(vectors, codes, points, weight)
    error = rounding(expected, vectors)

    assert np.array_equal(snapshot.exact(np.arange(size)), blend(vectors, snapshot.labels, weight))
    for point, squares, slack in zip(snapshot.lift(points), expected, error, strict=True):
        for code in range(len(snapshot.label_names)):
            mine = snapshot.labels == code
            for rows, found in (
                (np.arange(size), snapshot.nearest(point, count)),
                (np.flatnonzero(mine), snapshot.nearest_of_label(point, count, code)),
            ):
                left = np.setdiff1d(rows, found.rows)
                assert set(found.rows) <= set(rows)
                assert len(found.rows) == min(count, len(rows))
                assert (np.abs(found.distances**2 - squares[found.rows]) <= slack[found.rows]).all()
                if len(left):
                    assert squares[left].min() >= squares[found.rows].max() - 2 * slack.max()
                    assert found.outside**2 <= squares[left].min() + slack.max()


def test_without_a_weight_points_and_vectors_are_the_plain_ones() -> None:
    vectors, codes, points = world(5, 30, 6, 3)
    items = [Item(str(row), str(code)) for row, code in enumerate(codes)]

    snapshot = Snapshot(1, items, list(vectors), 6)
    lifted = snapshot.lift(points.astype(np.float32))

    assert np.array_equal(snapshot.vectors, vectors)
    assert lifted.dtype == np.float64
    assert np.array_equal(lifted, points.astype(np.float32))


@pytest.mark.parametrize(("weight", "dimension"), [(0.0, 3), (0.5, 4)])
def test_an_empty_gallery_has_no_neighbours_with_or_without_a_weight(weight: float, dimension: int) -> None:
    snapshot = Snapshot(0, [], [], 3, weight)

    point = snapshot.lift(np.ones((1, 3)))[0]

    assert point.shape == (dimension,)
    assert len(snapshot.nearest(point, 1).rows) == 0


def test_a_gallery_blends_anew_with_every_version_and_old_snapshots_stay(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2, 0.5)
    assert gallery.snapshot().vectors.shape == (0, 3)
    gallery.add([new("one", "a", (1, 0)), new("other", "b", (0, 1))])
    alone = gallery.snapshot()
    gallery.add([new("mate", "a", (0, 0))])
    together = gallery.snapshot()
    gallery.store.delete(["mate"])
    again = gallery.snapshot()
    gallery.close()

    assert alone.vectors.tolist() == again.vectors.tolist() == [[1, 0, 0], [0, 1, 0]]
    # (1 - w) r + w mean = (3/4, 0); (1 - w) ||r||² + w mean ||r_j||² = 3/4, and 3/4 - 9/16 is left.
    np.testing.assert_allclose(together.vectors[0], [0.75, 0, np.sqrt(3 / 16)], atol=1e-7)
    np.testing.assert_allclose(together.vectors[1], [0, 1, 0], atol=1e-7)
    np.testing.assert_allclose(together.vectors[2], [0.25, 0, np.sqrt(3 / 16)], atol=1e-7)


def test_galleries_on_one_file_may_weigh_labels_differently(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    plain, blended = Gallery(path, MODEL, 2), Gallery(path, MODEL, 2, 0.9)
    plain.add([new("one", "a", (1, 0)), new("two", "a", (0, 1))])

    assert plain.snapshot().vectors.tolist() == [[1, 0], [0, 1]]
    assert blended.snapshot().vectors.shape == (2, 3)
    assert blended.missing() == []
    plain.close()
    blended.close()
