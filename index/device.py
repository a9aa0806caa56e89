"""Sealed segments on a GPU: FAISS's flat index of each, there for as long as the segment is.

A GPU is for who searches much at once: millions of items, or the votes of many samples. What it finds is
ranked in float64 as all that FAISS proposes, and its rounding has the same bound (docs/certificate.md, §10).
What it has no room for, and what it fails to do, the processor does.
"""

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol
from weakref import ref

import faiss
import numpy as np

from index.columns import Singles
from index.flat import rounding
from index.segment import Alive, LiveSegment, Places, Segment

log = logging.getLogger("retrievalguard")

Found = tuple[Singles, Places]

# Products of a vector with a point from which on the GPU is asked: to reach it takes longer than fewer do.
WORTH = 2**14
# FAISS selects no more than this on a GPU.
MOST = 2048
# What is asked for where some have left a segment: so many times what it takes on average, and more.
TIMES, MORE = 2, 32
# Bytes that FAISS keeps for what is between: products of 512 points and a segment, twice.
BETWEEN = 2**29
# Seconds without the GPU after it failed.
REST = 30.0
# What has cuBLAS compute with less than it is asked to, whatever a program says.
LESS_EXACT = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION")
# A number of 12 bits, which the 11 of TF32 and float16 do not hold; vectors and points that it is tried with.
TWELVE_BITS, TRIED = 2049, (4096, 512)


class Flat(Protocol):
    """Vectors on a device, as FAISS's `GpuIndexFlatL2`."""

    def search(self, points: Singles, count: int) -> Found:
        """Squared distances, rising, and places (n, count) of what is nearest to `points` (n, d)."""
        ...


# Takes vectors (N, d) to the device. Like `Flat.search` it raises `RuntimeError` or `MemoryError`.
Load = Callable[[Singles], Flat]


class WrongResult(RuntimeError):
    """What the device computed is farther off than float32 can be."""


class Device:
    """One GPU, with the vectors of segments in up to `most_bytes` of its memory. Threads may share it.

    `failed` is told each time that the processor has to do what the GPU was asked to.
    """

    def __init__(self, load: Load, most_bytes: int, failed: Callable[[], None] = lambda: None) -> None:
        self._load, self._most, self._failed = load, most_bytes, failed
        # Searching, loading and freeing are for one thread at a time.
        self._lock = threading.Lock()
        self._held = dict[ref[Segment], tuple[Flat, int]]()
        self._gone = deque[ref[Segment]]()
        self._tried = set[int]()
        self._rests_until = 0.0
        self.bytes = 0

    def search(self, part: LiveSegment, points: Singles, count: int) -> Found:
        """As `LiveSegment.search`: by the GPU if that is worth it, else by the processor."""
        count = min(count, len(part))
        try:
            found = self._search(part, points, count)
        except (RuntimeError, MemoryError) as error:
            self._rest(error)
            found = None
        return part.search(points, count) if found is None else found

    def _search(self, part: LiveSegment, points: Singles, count: int) -> Found | None:
        size, left = len(part.segment), len(part.segment) - len(part)
        if not count or not part.segment.number or size * len(points) < WORTH:
            return None
        asked = min(count + left, TIMES * math.ceil(count * size / len(part)) + MORE)
        bounds = rounding(points.astype(np.float64), part.segment.largest_norm)
        if asked > MOST or not np.isfinite(bounds).all() or time.monotonic() < self._rests_until:
            return None
        with self._lock:
            flat = self._flat(part.segment)
            if flat is None:
                return None
            squares, places = flat.search(points, asked)
        _check(part.segment.columns.vectors, points, squares, places, float(bounds[0]))
        if part.alive is None:
            return squares, places
        return _living(part, part.alive[places], points, squares, places, count)

    def _flat(self, segment: Segment) -> Flat | None:
        """The vectors of `segment` on the device; None if there is no room for them."""
        while self._gone:
            self.bytes -= self._held.pop(self._gone.popleft(), (None, 0))[1]
        held = self._held.get(ref(segment))
        if held is not None:
            return held[0]
        vectors = segment.columns.vectors
        size = vectors.nbytes + vectors.nbytes // vectors.shape[1]  # FAISS keeps their squared norms, too
        if self.bytes + size > self._most:
            return None
        self._try(vectors.shape[1])
        try:
            flat = self._load(vectors)
        except (RuntimeError, MemoryError):
            self._most = self.bytes  # it has less memory than it was said to have
            raise
        # Whoever lets go of a segment last may be anybody: it is freed by who comes here next.
        self._held[ref(segment, self._gone.append)] = flat, size
        self.bytes += size
        return flat

    def _try(self, dimension: int) -> None:
        """Raise `WrongResult` if products have less than the 24 bits of float32."""
        if dimension in self._tried:
            return
        size, most = TRIED
        vectors = np.zeros((size, dimension), np.float32)
        vectors[np.arange(size), np.arange(size) % dimension] = TWELVE_BITS
        points = np.eye(min(dimension, most), dimension, dtype=np.float32)
        flat = self._load(vectors)
        for some in (points[:1], points):
            squares, _ = flat.search(some, 1)
            if (squares != (TWELVE_BITS - 1) ** 2).any():
                raise WrongResult("the GPU multiplies with less than the precision of float32")
        self._tried.add(dimension)

    def _rest(self, error: Exception) -> None:
        """Leave all to the processor for a while, or for good if results are wrong."""
        self._failed()
        with self._lock:
            if time.monotonic() < self._rests_until:
                return
            wrong = isinstance(error, WrongResult)
            self._rests_until = math.inf if wrong else time.monotonic() + REST
            if wrong:
                self._held.clear()
                self.bytes = 0
        log.log(
            logging.ERROR if wrong else logging.WARNING,
            "the GPU failed to search the gallery, which the processor does %s: %s",
            "from now on" if wrong else f"for {REST:.0f} s",
            " ".join(str(error).split()) or type(error).__name__,
        )


def _check(vectors: Singles, points: Singles, squares: Singles, places: Places, bound: float) -> None:
    """Raise `WrongResult` if that cannot be: of the first point as far as float64 tells."""
    if not np.isfinite(squares).all() or places.min() < 0 or places.max() >= len(vectors):
        raise WrongResult("the GPU found distances or items that do not exist")
    exact = ((vectors[places[0]].astype(np.float64) - points[0]) ** 2).sum(axis=1)
    if (np.abs(exact - squares[0]) > bound).any():
        raise WrongResult("distances of the GPU are farther off than rounding in float32 explains")


def _living(
    part: LiveSegment, there: Alive, points: Singles, squares: Singles, places: Places, count: int
) -> Found:
    """Of what was found (n, k) near each point the `count` nearest that are `there` (n, k).

    The processor searches anew for points near which too few of them are.
    """
    order = np.argsort(~there, axis=1, kind="stable")[:, :count]
    squares, places = np.take_along_axis(squares, order, 1), np.take_along_axis(places, order, 1)
    short = np.count_nonzero(there, axis=1) < count
    if short.any():
        squares[short], places[short] = part.search(points[short], count)
    return squares, places


def gpu(most_bytes: int, failed: Callable[[], None] = lambda: None) -> Device | None:
    """The first GPU that FAISS sees, for up to `most_bytes` of vectors; None if it sees none.

    `failed`: as `Device` has it. FAISS keeps half a gigabyte beside the vectors.
    """
    if not most_bytes or not faiss.get_num_gpus():
        return None
    for name in LESS_EXACT:
        if os.environ.get(name, "0") not in ("", "0"):
            log.warning("the gallery is not searched on the GPU: %s is set, which costs it precision", name)
            return None
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(BETWEEN)
    resources.setPinnedMemory(0)  # a quarter of a gigabyte of the host's, for larger queries than there are
    config = faiss.GpuIndexFlatConfig()
    config.device, config.useFloat16, config.use_cuvs = 0, False, False

    def load(vectors: Singles) -> Flat:
        index = faiss.GpuIndexFlatL2(resources, vectors.shape[1], config)
        index.add(np.ascontiguousarray(vectors))
        flat: Flat = index
        return flat

    return Device(load, most_bytes, failed)
