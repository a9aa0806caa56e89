"""Items that are as near as they are themselves, and as their label is."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def blend(vectors: NDArray[np.float32], labels: NDArray[np.int64], weight: float) -> NDArray[np.float32]:
    """Vectors (N, d + 1) whose squared distance from a point (v, 0) blends those of an item and its label:

        ||(v, 0) - b_i||² = (1 - weight) ||v - r_i||² + weight mean_j ||v - r_j||²,             (blend)

    r_i the rows of `vectors` (N, d), j over all items with the label of i. Both sides are quadratic in v with
    the same leading term: the first d coordinates, (1 - weight) r_i + weight mean_j r_j, match the linear
    term, and the last one the constant, which is not negative as the square is convex.

    Among items of one label the order stays as it is; an item far from its label-mates no longer speaks for
    its label alone. Rounded to float32, these vectors are the gallery: fixed numbers. Those of a label depend
    on its own rows and their order alone, to the last bit, whatever else is blended with them.
    """
    exact = vectors.astype(np.float64)
    squares = np.einsum("nd,nd->n", exact, exact)
    order = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[order], prepend=-1))
    counts = np.diff(begins, append=len(order))
    blended: Array = (1 - weight) * exact
    rest = (1 - weight) * squares
    if len(order):
        means = np.add.reduceat(exact[order], begins) / counts[:, None]
        mean_squares = np.add.reduceat(squares[order], begins) / counts
        blended[order] += np.repeat(weight * means, counts, axis=0)
        rest[order] += np.repeat(weight * mean_squares, counts)
    rest -= np.einsum("nd,nd->n", blended, blended)
    return np.concatenate([blended, np.sqrt(np.maximum(rest, 0.0))[:, None]], axis=1).astype(np.float32)


def lift(points: NDArray[np.floating]) -> Array:
    """Embeddings (n, d) as points (n, d + 1) among blended vectors: a 0 at the end of each, in float64."""
    lifted = np.zeros((len(points), points.shape[1] + 1))
    lifted[:, :-1] = points
    return lifted
