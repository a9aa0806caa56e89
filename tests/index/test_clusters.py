"""Clusters hold every vector once, none farther from its centre than the radius says."""

import numpy as np
import pytest
from numpy.typing import NDArray

from index import Clusters
from index.clusters import FEW, clustered

Array = NDArray[np.float64]


def farthest(found: Clusters) -> Array:
    """How far the farthest member of each cluster is from its centre, in float64."""
    of = np.repeat(np.arange(len(found.centres)), np.diff(found.starts))
    gaps = found.vectors.astype(np.float64) - found.centres[of]
    distances: Array = np.maximum.reduceat(np.sqrt((gaps**2).sum(axis=1)), found.starts[:-1])
    return distances


@pytest.mark.parametrize("kind", ["spread", "equal", "two places", "labels"])
@pytest.mark.parametrize("members", [1, 7, 32])
def test_every_vector_is_in_one_cluster_within_its_radius(kind: str, members: int) -> None:
    rng = np.random.default_rng(members)
    vectors = rng.standard_normal((900, 5)).astype(np.float32)
    if kind == "equal":
        vectors[:] = vectors[0]
    if kind == "two places":
        vectors = vectors[rng.integers(0, 2, 900)]
    if kind == "labels":
        vectors = np.repeat(vectors[:30], 30, axis=0) + np.float32(0.01) * vectors
    found = clustered(vectors, members=members, few=100)
    np.testing.assert_array_equal(np.sort(found.order), np.arange(900))
    np.testing.assert_array_equal(found.vectors, vectors[found.order])
    assert (found.starts[0], found.starts[-1]) == (0, 900)
    assert (np.diff(found.starts) > 0).all()
    assert len(found.centres) == len(found.radii) == len(found.starts) - 1
    assert (found.radii >= farthest(found)).all()
    np.testing.assert_allclose(found.radii, farthest(found), rtol=1e-8)
    if kind == "labels":
        assert np.median(found.radii) < 0.1 * np.linalg.norm(vectors, axis=1).mean()


def test_the_same_vectors_have_the_same_clusters() -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 8)).astype(np.float32)
    one, other = clustered(vectors), clustered(vectors.copy())
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one.radii, other.radii)


@pytest.mark.parametrize("count", [0, 1, 100, FEW])
def test_few_vectors_are_left_as_they_are(count: int) -> None:
    vectors = np.ones((count, 3), np.float32)
    found = clustered(vectors)
    assert found.vectors is vectors
    assert len(found.centres) == len(found.radii) == 0
    np.testing.assert_array_equal(found.order, np.arange(count))
