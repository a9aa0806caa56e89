"""Vectors that were joined are as good as ones that stand in a single array."""

from itertools import pairwise

import numpy as np
import pytest

from certify import EmbeddingSpace, Vectors
from certify.crowd import Crowd
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
        found.append(Vectors(rows, starts, centres, np.maximum.reduceat(gaps, starts[:-1]) * (1 + 1e-9)))
    return found


def test_joined_vectors_have_the_clusters_of_their_parts() -> None:
    rng = np.random.default_rng(0)
    several = parts(rng)
    joined = Vectors.joined(several)
    rows = np.concatenate([np.asarray(part.rows) for part in several])
    centres = np.concatenate([np.asarray(part.centres) for part in several])
    sizes = [size for each in SIZES for size in each]
    np.testing.assert_array_equal(joined.starts, np.cumsum([0, *sizes]))
    whole = Vectors(rows, joined.starts, centres, joined.radii)
    np.testing.assert_array_equal(joined.halves, whole.halves)
    np.testing.assert_array_equal(joined.ends, whole.ends)
    some = np.array([6, 1, 3])
    np.testing.assert_array_equal(joined.rows[joined.members(some)], rows[whole.members(some)])

    rivals = rng.random(len(rows)) < 0.8
    selection = 0.3 * rng.standard_normal((9, 6))
    rest = rows[:2], selection, selection.mean(axis=0), EmbeddingSpace(norm_bound=2.0)
    found, expected = (Crowd(vectors, rivals, *rest) for vectors in (joined, whole))
    np.testing.assert_array_equal(found.counts, expected.counts)
    for name in ("weights", "lower", "upper", "loss", "reach"):
        np.testing.assert_array_equal(getattr(found.pairs, name), getattr(expected.pairs, name))
    # A product in float32 may differ in its last bits, which are taken off.
    np.testing.assert_allclose(found.pairs.offsets, expected.pairs.offsets, atol=1e-6)
    everyone = np.arange(len(found.clusters))
    np.testing.assert_array_equal(found.members(everyone), np.flatnonzero(rivals))


@pytest.mark.parametrize("lengths", [[4], [1, 5, 2], [0, 3]])
def test_rows_that_are_stacked_are_those_of_one_array(lengths: list[int]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    stacked, whole = Stacked(arrays), np.concatenate(arrays)
    assert (len(stacked), stacked.shape) == (len(whole), whole.shape)
    order = rng.permutation(len(whole))
    np.testing.assert_array_equal(stacked[order], whole[order])
    point = rng.standard_normal(3).astype(np.float32)
    np.testing.assert_allclose(stacked @ point, whole @ point, rtol=1e-5, atol=1e-6)
