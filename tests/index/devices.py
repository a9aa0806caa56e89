"""What stands in for a GPU: the arithmetic of FAISS on one, as it may be and at its worst."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index import Device, Item, Snapshot
from index.arrangement import Arrangement
from index.columns import Columns
from index.contents import Contents
from index.growth import State, View
from index.labels import Labels
from index.segment import LiveSegment, sealed

Singles = NDArray[np.float32]
Array = NDArray[np.float64]
# Squares (n, N) of points (n, d) and vectors (N, d).
Arithmetic = Callable[[Singles, Singles], Singles]
ROUNDOFF = 2.0**-24


def expansion(product: Arithmetic) -> Arithmetic:
    """‖q‖² + ‖r‖² - 2<q, r> in float32, as FAISS's GPU kernels have it: not below 0.

    `product` (...,) is of points and vectors (..., d), or of these with themselves.
    """

    def squares(points: Singles, vectors: Singles) -> Singles:
        products = product(points[:, None], vectors[None])
        mine, norms = product(points, points), product(vectors, vectors)
        found: Singles = np.maximum((norms - 2 * products) + mine[:, None], np.float32(0))
        return found

    return squares


def one_by_one(points: Singles, vectors: Singles) -> Singles:
    """Summed from the first to the last."""
    total: Singles = points[..., 0] * vectors[..., 0]
    for k in range(1, points.shape[-1]):
        total = total + points[..., k] * vectors[..., k]
    return total


def backwards(points: Singles, vectors: Singles) -> Singles:
    return one_by_one(points[..., ::-1], vectors[..., ::-1])


def fused(points: Singles, vectors: Singles) -> Singles:
    """Multiplied and added with one rounding, in two sums that are added at the end."""
    parts = [np.float32(0) * points[..., 0] * vectors[..., 0]] * 2
    for k in range(points.shape[-1]):
        exact = points[..., k].astype(np.float64) * vectors[..., k].astype(np.float64)
        parts[k % 2] = (parts[k % 2].astype(np.float64) + exact).astype(np.float32)
    return parts[0] + parts[1]


def tensor_cores(points: Singles, vectors: Singles) -> Singles:
    """What is multiplied has 11 bits (TF32)."""
    return one_by_one(_eleven_bits(points), _eleven_bits(vectors))


def _eleven_bits(numbers: Singles) -> Singles:
    significands, exponents = np.frexp(numbers)
    return np.ldexp(np.rint(significands * 2**11).astype(np.float32) / np.float32(2**11), exponents)


def worst(points: Singles, vectors: Singles) -> Singles:
    """About as far off as the proof allows: near items seem farther, and far ones nearer.

    Of whole numbers it is exact, as float32 is: that is what a device is tried with.
    """
    d = points.shape[1]
    exact = ((points[:, None, :].astype(np.float64) - vectors[None].astype(np.float64)) ** 2).sum(axis=2)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    scale = (np.linalg.norm(points.astype(np.float64), axis=1)[:, None] + norms) ** 2
    off = (d + 3) * ROUNDOFF / (1 - (d + 3) * ROUNDOFF) * scale
    ranks = np.argsort(np.argsort(exact, axis=1), axis=1)
    wrong = np.where(ranks < len(vectors) // 2, off, -off)
    if (np.rint(vectors) == vectors).all():
        wrong[:] = 0
    return np.maximum(exact + wrong * (1 - 1e-3), 0).astype(np.float32)


ARITHMETIC: dict[str, Arithmetic] = {
    "one by one": expansion(one_by_one),
    "backwards": expansion(backwards),
    "fused": expansion(fused),
    "worst": worst,
}


class StandIn:
    """Vectors that are searched as a GPU does, by one thread at a time."""

    def __init__(self, vectors: Singles, arithmetic: Arithmetic) -> None:
        self.vectors, self._arithmetic = vectors.copy(), arithmetic
        self.asked: list[tuple[int, int]] = []
        self._busy = threading.Lock()

    def search(self, points: Singles, count: int) -> tuple[Singles, NDArray[np.int64]]:
        assert self._busy.acquire(blocking=False), "two threads at once"
        try:
            assert count <= 2048
            assert points.dtype == np.float32
            self.asked.append((len(points), count))
            squares = self._arithmetic(points, self.vectors)
            # Of equal squares any may come first: here the last.
            order = np.lexsort((-np.arange(len(self.vectors)) + np.zeros_like(squares), squares), axis=1)
            order = order[:, :count]
            return np.take_along_axis(squares, order, 1), order
        finally:
            self._busy.release()


class Machine:
    """A device and what was loaded to it."""

    def __init__(self, arithmetic: Arithmetic, most_bytes: int = 2**40) -> None:
        self.loaded = list[StandIn]()
        self.failures = 0
        self._arithmetic = arithmetic
        self.device = Device(self._load, most_bytes, self._failed)

    def _load(self, vectors: Singles) -> StandIn:
        self.loaded.append(StandIn(vectors, self._arithmetic))
        return self.loaded[-1]

    def _failed(self) -> None:
        self.failures += 1

    @property
    def searches(self) -> list[tuple[int, int]]:
        """Points and counts of all searches but the trial, which comes first."""
        return [asked for flat in self.loaded[1:] for asked in flat.asked]


def snapshot_on(
    device: Device | None,
    vectors: Singles,
    alive: NDArray[np.bool_] | None = None,
    *,
    opened: int = 0,
) -> Snapshot:
    """A snapshot of two sealed segments and, of the last `opened` vectors, an open one; those `alive`."""
    size, dimension = vectors.shape
    digests = np.zeros((size, 32), np.uint8)
    digests[:, :4] = np.arange(size, dtype=">u4").view(np.uint8).reshape(-1, 4)
    everything = Columns(np.arange(size), np.arange(size, dtype=np.int32) % 3, digests, vectors)
    there = np.ones(size, np.bool_) if alive is None else alive
    parts, half = [], (size - opened) // 2
    for number, some in enumerate((slice(half), slice(half, size - opened)), 1):
        segment = sealed(number, everything.take(np.arange(size)[some]))
        here = there[segment.columns.serials]
        parts.append(LiveSegment(segment, None if here.all() else here))
    rest = everything.take(np.flatnonzero(there[size - opened :]) + size - opened)
    arrangement = Arrangement.of([part for part in parts if len(part)], rest)
    view = View(dimension, 0.0, Labels(["a", "b", "c"]), device)
    state = State(arrangement, Contents.of(np.zeros((0, 32), np.uint8)))
    return Snapshot.of(1, view, state, lambda rows: [Item(str(row), "a") for row in rows])
