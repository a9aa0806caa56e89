"""Exact search against brute force, and a bound on what was not returned that never lies.

A rival that the search misses, or a bound that is too large, voids a certificate.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import Item, Neighbors, Snapshot

Search = Literal["nearest", "nearest_of_label"]
SEARCHES: tuple[Search, ...] = ("nearest", "nearest_of_label")


def snapshot_of(vectors: Any, labels: Sequence[str] | None = None) -> Snapshot:
    rows = np.array(vectors, np.float32)
    names = labels if labels is not None else ["a"] * len(rows)
    items = [Item(f"item-{row}", label) for row, label in enumerate(names)]
    return Snapshot(7, items, list(rows), rows.shape[1] if rows.ndim == 2 else 3)


def run(snapshot: Snapshot, search: Search, point: NDArray[np.float64], count: int, label: int) -> Neighbors:
    if search == "nearest":
        return snapshot.nearest(point, count)
    return getattr(snapshot, search)(point, count, label)  # type: ignore[no-any-return]


def eligible(snapshot: Snapshot, search: Search, label: int) -> NDArray[np.int64]:
    """The rows that a search is about, from the items themselves."""
    labels = np.array([item.label for item in snapshot.items])
    wanted = snapshot.label_names[label] if len(labels) else ""
    keep = {
        "nearest": labels == labels,
        "nearest_of_label": labels == wanted,
    }
    return np.flatnonzero(keep[search])


def check(
    snapshot: Snapshot, search: Search, point: NDArray[np.float64], count: int, label: int = 0
) -> Neighbors:
    """Compare one search with brute force in extended precision; returns what was found."""
    found = run(snapshot, search, point, count, label)
    rows = eligible(snapshot, search, label)
    differences = snapshot.vectors.astype(np.longdouble) - point.astype(np.longdouble)
    true = np.sqrt((differences**2).sum(axis=1))
    tolerance = 1e-12 * (1 + float(np.abs(point).max(initial=0)))

    assert len(found.rows) == len(found.distances) == min(count, len(rows))
    assert len(set(found.rows.tolist())) == len(found.rows)
    assert set(found.rows.tolist()) <= set(rows.tolist())
    assert np.abs(found.distances - true[found.rows]).max(initial=0) <= tolerance
    pairs = list(zip(found.distances.tolist(), snapshot.keys(found.rows).tolist(), strict=True))
    assert pairs == sorted(pairs)
    left = np.setdiff1d(rows, found.rows)
    if len(left):
        assert found.outside <= true[left].min() + tolerance, "the bound on the others is too large"
        if len(pairs):
            assert true[left].min() >= pairs[-1][0] - tolerance, "a nearer item was missed"
            assert found.outside >= pairs[-1][0]
            ties = left[(snapshot.vectors[left] == snapshot.vectors[found.rows[-1]]).all(axis=1)]
            assert (snapshot.keys(ties) > pairs[-1][1]).all(), "of equal items the smallest keys come first"
    else:
        assert found.outside == np.inf
    assert (found.outside == np.inf) == (len(left) == 0)
    return found


# --- small, on a grid: distances are exact, so order and ties are too


@given(data=st.data(), size=st.integers(0, 70), dimension=st.integers(1, 4), labels=st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_searches_on_a_grid_are_those_of_brute_force(
    data: st.DataObject, size: int, dimension: int, labels: int
) -> None:
    grid = st.integers(-2, 2)
    vectors = np.array(
        data.draw(
            st.lists(st.lists(grid, min_size=dimension, max_size=dimension), min_size=size, max_size=size)
        )
    ).reshape(size, dimension)
    names = data.draw(st.lists(st.sampled_from("abc"[:labels]), min_size=size, max_size=size))
    point = np.array(data.draw(st.lists(grid, min_size=dimension, max_size=dimension)), np.float64)
    count = data.draw(st.integers(0, 75))
    snapshot = Snapshot(
        1, [Item(str(i), n) for i, n in enumerate(names)], list(vectors.astype(np.float32)), dimension
    )
    squares = ((vectors - point) ** 2).sum(axis=1)

    for search in SEARCHES:
        for label in range(len(snapshot.label_names)) if search != "nearest" else [0]:
            found = check(snapshot, search, point, count, label)
            rows = eligible(snapshot, search, label)
            expected = rows[np.lexsort((snapshot.keys(rows), squares[rows]))]
            assert found.rows.tolist() == expected[:count].tolist()
            assert found.distances.tolist() == np.sqrt(squares[expected[:count]]).tolist()
            if len(expected) > count:
                assert found.outside <= np.sqrt(squares[expected[count]])


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 120),
    dimension=st.integers(1, 24),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    spread=st.sampled_from([1e-7, 1e-3, 1.0]),
    count=st.integers(1, 40),
)
@settings(deadline=None, max_examples=150)
def test_searches_are_exact_at_every_scale(
    seed: int, size: int, dimension: int, scale: float, offset: float, spread: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = scale * (offset + spread * rng.standard_normal((size, dimension)))
    names = rng.choice(["a", "b", "c"], size)
    point = scale * (offset + rng.choice([0, 1]) * spread * rng.standard_normal(dimension))
    snapshot = snapshot_of(vectors, names.tolist())

    for search, label in itertools.product(SEARCHES, range(len(snapshot.label_names))):
        check(snapshot, search, point, count, label)


# --- large


@pytest.fixture(scope="module")
def large() -> Snapshot:
    """5,000 unit vectors in 32 dimensions of 10 labels: every 7th a duplicate, every 11th a near-tie."""
    rng = np.random.default_rng(1)
    vectors = np.abs(rng.standard_normal((5000, 32)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7::7] = vectors[0:-7:7]
    vectors[11::11] = vectors[0:-11:11] + 1e-7 * rng.standard_normal(vectors[11::11].shape)
    return snapshot_of(vectors, [str(label) for label in rng.integers(0, 10, 5000)])


@pytest.mark.parametrize("count", [1, 2, 16, 100, 4983, 4984, 5000, 6000])
@pytest.mark.parametrize("search", SEARCHES)
def test_searches_of_a_large_gallery_are_those_of_brute_force(
    search: Search, count: int, large: Snapshot
) -> None:
    rng = np.random.default_rng(count)
    items = large.exact(np.arange(5000))
    points = [items[14], items[22] + 1e-9, (items[3] + items[4]) / 2, items.mean(axis=0), np.zeros(32)]
    points += list(np.abs(rng.standard_normal((3, 32))) / 6)
    for point, label in zip(points, itertools.cycle(range(10)), strict=False):
        check(large, search, point, count, label)


def test_the_bound_is_the_next_item_itself_where_items_are_apart(large: Snapshot) -> None:
    rng = np.random.default_rng(2)
    for label in range(10):
        point = np.abs(rng.standard_normal(32)) / 6
        for search in SEARCHES:
            longer = run(large, search, point, 11, label)
            assert run(large, search, point, 10, label).outside == longer.distances[10]


@pytest.mark.parametrize("known", [1, 8, 128, 5000])
@pytest.mark.parametrize("moved", [0.0, 1e-12, 1e-3, 0.05, 0.3, 3.0])
def test_what_was_near_elsewhere_decides_only_as_far_as_it_was_seen(
    known: int, moved: float, large: Snapshot
) -> None:
    """The answer, and the bound on all others, are those of a search from where one looks now."""
    rng = np.random.default_rng(3)
    for count in (1, 5):
        centre = np.abs(rng.standard_normal(32)) / 6
        turn = rng.standard_normal(32)
        point = centre + moved * turn / np.linalg.norm(turn)
        found = large.near(large.nearest(centre, known), centre, point, count)
        again = large.nearest(point, len(large))
        assert found.rows.tolist() == again.rows[:count].tolist()
        assert found.distances.tolist() == again.distances[:count].tolist()
        assert found.outside <= again.distances[count] + 1e-12


# --- ties


@pytest.mark.parametrize("count", [1, 3, 50, 184, 199, 200, 250])
@pytest.mark.parametrize("search", SEARCHES)
def test_more_equal_items_than_the_margin_holds_are_answered_exactly(search: Search, count: int) -> None:
    rng = np.random.default_rng(4)
    vectors = np.repeat(rng.standard_normal((1, 8)), 260, axis=0)
    far = rng.permutation(260)[:60]
    vectors[far] += 3
    snapshot = snapshot_of(vectors, ["ab"[row % 2] for row in range(260)])

    for point in (snapshot.exact(np.array([0]))[0], vectors[0] + 1e-3, rng.standard_normal(8)):
        for label in (0, 1):
            found = check(snapshot, search, point.astype(np.float64), count, label)
            rows = eligible(snapshot, search, label)
            near = np.setdiff1d(rows, far)
            near = near[np.argsort(snapshot.keys(near))]
            assert found.rows[: len(near)].tolist() == near[:count].tolist()
            if count < len(near):
                assert found.outside == found.distances[0]


@pytest.mark.parametrize("offset", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("search", SEARCHES)
def test_near_ties_below_the_resolution_of_float32_are_told_apart(search: Search, offset: float) -> None:
    rng = np.random.default_rng(5)
    vectors = (offset + 0.2 + 1e-7 * rng.standard_normal((400, 16))).astype(np.float32)
    snapshot = snapshot_of(vectors, ["ab"[row % 2] for row in range(400)])
    point = 0.1 * rng.standard_normal(16)
    exact = np.linalg.norm(vectors.astype(np.float64) - point, axis=1)
    rounded = (np.linalg.norm(vectors - point.astype(np.float32), axis=1) ** 2).astype(np.float32)
    assert len(np.unique(rounded)) < len(np.unique(exact)) / 3, "float32 would have told them apart as well"

    for count in (1, 5, 60):
        for label in (0, 1):
            check(snapshot, search, point, count, label)


def test_the_point_is_not_rounded_to_float32() -> None:
    step = 2.0**-26  # below the resolution of float32 at 1
    snapshot = snapshot_of([[1 - 2.0**-24], [1 + 2.0**-23], *[[5.0]] * 40])

    # Half-way is 1 + 2**-25: on either side of it another item is nearer, and float32 sees 1 both times.
    assert np.float32(1 + 2.0**-25 - step) == np.float32(1 + 2.0**-25 + step) == 1
    assert snapshot.nearest(np.array([1 + 2.0**-25 - step]), 1).rows.tolist() == [0]
    assert snapshot.nearest(np.array([1 + 2.0**-25 + step]), 1).rows.tolist() == [1]


# --- borders


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_empty_gallery_has_no_neighbours(count: int) -> None:
    snapshot = Snapshot(0, [], [], 3)

    assert len(snapshot) == 0
    for search in SEARCHES:
        found = run(snapshot, search, np.ones(3), count, 0)
        assert (len(found.rows), len(found.distances), found.outside) == (0, 0, np.inf)


@pytest.mark.parametrize("size", [1, 10, 100])
def test_asking_for_nothing_still_bounds_everything(size: int) -> None:
    vectors = np.random.default_rng(7).standard_normal((size, 4))
    snapshot = snapshot_of(vectors, ["ab"[row % 2] for row in range(size)])

    for search in SEARCHES:
        found = check(snapshot, search, np.zeros(4), 0)
        assert len(found.rows) == 0


def test_a_snapshot_says_what_it_holds() -> None:
    snapshot = snapshot_of([[1, 2], [3, 4], [5, 6]], ["b", "a", "b"])

    assert (snapshot.version, len(snapshot)) == (7, 3)
    assert [str(snapshot.label_names[code]) for code in snapshot.labels] == ["b", "a", "b"]
    assert snapshot.exact(np.array([2, 0])).tolist() == [[5, 6], [1, 2]]
    assert snapshot.exact(np.array([2, 0])).dtype == np.float64


def test_labels_that_differ_by_a_nul_at_the_end_are_two_labels() -> None:
    snapshot = snapshot_of([[1, 2], [3, 4]], ["a", "a\0"])

    assert snapshot.labels[0] != snapshot.labels[1]


# --- threads
