"""A gallery without one item: as if it had never been there, to the last bit."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import Item, Snapshot


def anew(
    items: Sequence[Item], vectors: Sequence[NDArray[np.float32]], row: int, weight: float
) -> tuple[Snapshot, Snapshot]:
    """The gallery without `row`, and the one that is made of the others."""
    dimension = len(vectors[0])
    kept = [other for other in range(len(items)) if other != row]
    return (
        Snapshot(0, items, vectors, dimension, weight).without(row, vectors),
        Snapshot(0, [items[i] for i in kept], [vectors[i] for i in kept], dimension, weight),
    )


def check(found: Snapshot, expected: Snapshot, points: NDArray[np.float64]) -> None:
    assert len(found) == len(expected)
    assert found.digest == expected.digest
    assert np.array_equal(found.vectors, expected.vectors)
    assert list(found.items) == list(expected.items)
    rows = np.arange(len(found))
    assert np.array_equal(found.keys(rows), expected.keys(rows))
    for point in found.lift(points):
        one, other = found.nearest(point, 20), expected.nearest(point, 20)
        assert np.array_equal(one.rows, other.rows)
        assert np.array_equal(one.distances, other.distances)


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    weight=st.sampled_from([0.0, 0.5, 0.9]),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_it_is_the_gallery_of_the_others(
    labels: list[str], seed: int, weight: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    vectors = list(rng.standard_normal((len(labels), 3)).astype(np.float32))
    items = [Item(f"item-{row}", label, {"row": row}) for row, label in enumerate(labels)]
    row = data.draw(st.integers(0, len(labels) - 1))
    found, expected = anew(items, vectors, row, weight)
    check(found, expected, rng.standard_normal((2, 3)))
    assert found.layout == expected.layout  # there are no clusters: all that is certified is the same, too


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_of_a_large_gallery_only_its_label_moves(weight: float) -> None:
    rng = np.random.default_rng(1)
    vectors = list(rng.standard_normal((5000, 8)).astype(np.float32))
    items = [Item(f"item-{row}", f"label-{row % 500}") for row in range(5000)]
    found, expected = anew(items, vectors, 1234, weight)
    check(found, expected, rng.standard_normal((3, 8)))
    open_part = found.parts[-1]
    assert (open_part.segment.number, len(open_part)) == ((0, 9) if weight else (1, 4999))
