"""Clusters of a gallery's vectors, for certificates that bound far rivals together (`certify.Vectors`).

Any division into clusters is valid; one of k-means in two steps is tight, and about N^1.5 products.
"""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from index.flat import one_thread

Rows = NDArray[np.int64]
Singles = NDArray[np.float32]

# Members of a cluster, about; and vectors up to which none are made.
MEMBERS, FEW = 12, 2048
# Rounds of k-means, and vectors for each centre from which it learns.
ROUNDS, LEARNT_FROM = 6, 48
# More than rounding in float64 takes from a distance.
UP = 1 + 1e-9


@dataclass(frozen=True)
class Clusters:
    """Vectors cluster after cluster.

    order    (N,) the row of each
    vectors  (N, d) float32
    starts   (C + 1,) where clusters begin; C is 0 if there are too few vectors to make any
    centres  (C, d) float32, the means
    radii    (C,) no member is farther from its centre
    groups   (G + 1,) where groups of clusters begin, whose centres are near each other
    """

    order: Rows
    vectors: Singles
    starts: Rows
    centres: Singles
    radii: NDArray[np.float64]
    groups: Rows


def clustered(vectors: Singles, *, members: int = MEMBERS, few: int = FEW) -> Clusters:
    """The clusters of `vectors` (N, d), of about so many `members`; none of up to `few` vectors."""
    if len(vectors) <= few:
        nothing = np.zeros((0, vectors.shape[1]), np.float32)
        nowhere = np.zeros(1, np.int64)
        return Clusters(np.arange(len(vectors)), vectors, nowhere, nothing, np.zeros(0), nowhere)
    top = _assigned(vectors, round((len(vectors) / members) ** 0.5))
    parts: list[Rows] = []
    groups = [0]
    for rows in _parts(np.arange(len(vectors)), top):
        parts += _parts(rows, _assigned(vectors[rows], round(len(rows) / members)))
        groups.append(len(parts))
    order = np.concatenate(parts)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    sizes = np.diff(starts)
    members_of = vectors[order]
    centres = (np.add.reduceat(members_of, starts[:-1], dtype=np.float64) / sizes[:, None]).astype(np.float32)
    distances = np.empty(len(order))
    of = np.repeat(np.arange(len(sizes)), sizes)
    for start in range(0, len(order), 2**16):
        some = slice(start, start + 2**16)
        gaps = members_of[some].astype(np.float64) - centres[of[some]]
        distances[some] = np.sqrt(np.einsum("nd,nd->n", gaps, gaps))
    radii = np.maximum.reduceat(distances, starts[:-1]) * UP
    return Clusters(order, members_of, starts, centres, radii, np.array(groups))


def _assigned(vectors: Singles, clusters: int) -> Rows:
    """The cluster (n,) of each of `vectors` (n, d)."""
    if clusters <= 1:
        return np.zeros(len(vectors), np.int64)
    means = faiss.Kmeans(
        vectors.shape[1], clusters, niter=ROUNDS, seed=0, max_points_per_centroid=LEARNT_FROM,
        min_points_per_centroid=1,
    )  # fmt: skip
    with one_thread():
        means.train(vectors)
        found: Rows = means.index.search(vectors, 1)[1][:, 0]
    return found


def _parts(rows: Rows, clusters: Rows) -> list[Rows]:
    """`rows` (n,) by their `clusters` (n,), in their order."""
    order = np.argsort(clusters, kind="stable")
    _, begins = np.unique(clusters[order], return_index=True)
    return np.split(rows[order], begins[1:])
