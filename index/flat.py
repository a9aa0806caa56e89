"""FAISS as it is used here, and how far its squared distances may be off (docs/certificate.md, §10)."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Singles = NDArray[np.float32]

# Points from which on FAISS multiplies matrices, which knows no selection.
MANY = 20
# Of float32: how much it rounds, what it may set to 0, and a square that sums do not overflow with.
ROUNDOFF, SMALLEST, LARGEST = 2.0**-24, 2.0**-126, 2.0**126


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread: for a single query that is faster, and OpenMP's setting is this thread's alone."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def search(
    vectors: Singles, points: Singles, count: int, alive: NDArray[np.bool_] | None = None
) -> tuple[Singles, NDArray[np.int64]]:
    """Squared distances and places (n, count) of the `vectors` (N, d) nearest to each of `points` (n, d).

    They are searched where they are: FAISS keeps no copy. `alive` (N,): which of them, None for all; at least
    `count`.
    """
    if alive is not None and len(points) >= MANY:
        places = np.flatnonzero(alive)
        squares, found = search(vectors[places], points, count)
        return squares, places[found]
    points = np.ascontiguousarray(points, np.float32)
    squares = np.empty((len(points), count), np.float32)
    found = np.empty((len(points), count), np.int64)
    bits = None if alive is None else np.packbits(alive, bitorder="little")
    selection = None if bits is None else faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    with one_thread():
        faiss.knn_L2sqr(
            faiss.swig_ptr(points), faiss.swig_ptr(vectors), vectors.shape[1], len(points), len(vectors),
            count, faiss.swig_ptr(squares), faiss.swig_ptr(found), None, selection,
        )  # fmt: skip
    return squares, found


def rounding(points: Array, largest_norm: float) -> Array:
    """How far off (n,) squared distances of FAISS may be, from `points` (n, d) to vectors of such norms.

    The points are in float64, and FAISS rounds them. It holds for ‖q - r‖² and for ‖q‖² + ‖r‖² - 2<q, r> in
    float32, summed in any order, fused or not, on any device. Infinite where float32 may overflow.
    """
    dimension = points.shape[1]
    scale = (np.linalg.norm(points, axis=1) + largest_norm) ** 2
    slack = 8 * (dimension + 4) * (ROUNDOFF * scale + SMALLEST)
    found: Array = np.where(scale < LARGEST, slack, np.inf)
    return found
