"""Vectors that were joined are as good as ones that stand in a single array."""

from itertools import pairwise

import numpy as np
import pytest

from certify import EmbeddingSpace, Vectors
from certify.crowd import Closed, Crowd
from certify.stacked import Stacked

SIZES = [(3, 5, 2), (4,), (1, 1, 6, 2)]


def parts(rng: np.random.Generator) -> list[Vectors]:
    """Vectors in clusters of SIZES, a part for each of them."""
    found = []
    for sizes in SIZES:
        starts = np.cumsum([0, *sizes])
        rows = (0.3 * rng.standard_normal((starts[-1], 6))).astype(np.float32)
        centres = np.stack([rows[a:b].mean(axis=0) for a, b in pairwise(starts)])
        of = np.repeat(np.arange(len(sizes)), sizes)
        gaps = np.linalg.norm(rows.astype(np.float64) - centres[of], axis=1)
        radii = np.maximum.reduceat(gaps, starts[:-1]) * (1 + 1e-9)
        found.append(Vectors(rows, starts, centres, radii, np.unique([0, min(2, len(sizes)), len(sizes)])))
    return found


def test_joined_vectors_have_the_clusters_of_their_parts() -> None:
    rng = np.random.default_rng(0)
    several = parts(rng)
    joined = Vectors.joined(several)
    rows = np.concatenate([np.asarray(part.rows) for part in several])
    centres = np.concatenate([np.asarray(part.centres) for part in several])
    sizes = [size for each in SIZES for size in each]
    np.testing.assert_array_equal(joined.starts, np.cumsum([0, *sizes]))
    np.testing.assert_array_equal(joined.groups, [0, 2, 3, 4, 6, 8])
    whole = Vectors(rows, joined.starts, centres, joined.radii, joined.groups)
    np.testing.assert_array_equal(joined.halves, whole.halves)
    for level in ("clusters", "grouped"):
        for name in ("starts", "radii", "lowest", "highest"):
            both = [getattr(getattr(vectors, level), name) for vectors in (joined, whole)]
            np.testing.assert_array_equal(*both)

    rivals = rng.random(len(rows)) < 0.8
    selection = 0.3 * rng.standard_normal((9, 6))
    rest = rows[:2], selection, selection.mean(axis=0), EmbeddingSpace(norm_bound=2.0)
    found, expected = (Crowd.of(vectors, rivals, *rest) for vectors in (joined, whole))
    assert_equal(found.groups, expected.groups)
    everyone = np.arange(len(found.groups))
    found, expected = found.scattered(everyone), expected.scattered(everyone)
    assert_equal(found.clusters, expected.clusters)
    np.testing.assert_array_equal(found.members(found.clusters), np.flatnonzero(rivals))


def assert_equal(found: Closed, expected: Closed) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    for name in ("weights", "lower", "upper", "loss", "reach"):
        np.testing.assert_array_equal(getattr(found.pairs, name), getattr(expected.pairs, name))
    # A product in float32 may differ in its last bits, which are taken off.
    np.testing.assert_allclose(found.pairs.offsets, expected.pairs.offsets, atol=1e-6)


@pytest.mark.parametrize("lengths", [[4], [1, 5, 2], [0, 3]])
def test_rows_that_are_stacked_are_those_of_one_array(lengths: list[int]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    stacked, whole = Stacked(arrays), np.concatenate(arrays)
    assert (len(stacked), stacked.shape) == (len(whole), whole.shape)
    order = rng.permutation(len(whole))
    np.testing.assert_array_equal(stacked[order], whole[order])
    point = rng.standard_normal(3).astype(np.float32)
    begins = np.cumsum([0, *lengths])
    runs = [
        (begin, begin + cut, begin + len(array))
        for array, begin in zip(arrays, begins, strict=False)
        for cut in range(len(array))
    ]
    firsts, cuts, lasts = np.array(runs).T
    for first, last in ((firsts, cuts), (cuts, lasts), (firsts, lasts)):
        products = stacked.products(first, last, point)
        for product, begin, end in zip(products, first, last, strict=True):
            np.testing.assert_array_equal(product, whole[begin:end] @ point)
