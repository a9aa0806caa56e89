"""Exact search among the items of one gallery version.

FAISS proposes in float32, float64 decides, and what was not returned is bounded from below with FAISS's
rounding taken into account: a missed rival would void a certificate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.arrangement import Arrangement
from index.blending import lift
from index.columns import Columns, keys
from index.failures import ShardMissing
from index.flat import rounding
from index.growth import View
from index.segment import LiveSegment
from index.shards.elsewhere import elsewhere

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# FAISS returns this many more than asked for, so that float32 ties at the border are settled in float64.
MARGIN = 16
# Squared distances that are equal.
TIE = 1e-9
# Vectors that are compared at a time.
BATCH = 8192


@dataclass(frozen=True)
class Neighbors:
    """The items nearest to a point: rows (k,) and distances (k,), nearest first, equal ones by their keys.

    `outside`: every item of the search that is not listed is at least this far; infinity if none is left.
    """

    rows: Rows
    distances: Array
    outside: float


class ExactSearch:
    """Search of the items of an `arrangement`, as `view` says. Reads only, so threads may share it."""

    def __init__(self, view: View, arrangement: Arrangement) -> None:
        self._view, self._arrangement = view, arrangement

    def __len__(self) -> int:
        return len(self._arrangement)

    @property
    def parts(self) -> tuple[LiveSegment, ...]:
        """Where the items are: as certificates see them, part after part."""
        return self._arrangement.all

    def of_others(self, label: int) -> NDArray[np.bool_]:
        """Which of the vectors of `parts`, part after part, are items with another label."""
        return self._mask(lambda part: part.segment.columns.labels != label)

    def all_but(self, row: int) -> NDArray[np.bool_]:
        """Which of the vectors of `parts`, part after part, are items, but not that of `row`."""
        serial = self._arrangement.serials[row]
        return self._mask(lambda part: part.segment.columns.serials != serial)

    def _mask(self, wanted: Callable[[LiveSegment], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return np.concatenate([part.within(wanted(part)) for part in self.parts])

    def lift(self, samples: NDArray[np.floating]) -> Array:
        """Embeddings (n, d) as points among the vectors, in float64."""
        return lift(samples) if self._view.label_weight > 0 else samples.astype(np.float64)

    def exact(self, rows: Rows) -> Array:
        """The vectors (..., d) of `rows` (...,), in float64: fixed numbers, the gallery itself."""
        found = self._arrangement.vectors(rows.reshape(-1)).astype(np.float64)
        return found.reshape(*rows.shape, found.shape[1])

    def labels_of(self, rows: Rows) -> Rows:
        """The numbers of the labels (k,) of `rows` (k,)."""
        return self._arrangement.labels(rows)

    def keys(self, rows: Rows) -> NDArray[np.uint64]:
        """Numbers (k,) by which items are put in order that are equally near: of their content alone."""
        return keys(self._arrangement.digests(rows))

    def nearest(self, point: Array, count: int) -> Neighbors:
        """The `count` items nearest to `point` (d,), or all if there are fewer."""
        everything = np.arange(len(self))
        proposed = count + MARGIN
        if proposed >= len(self):
            return self._rank(point, everything, count, np.inf)
        squares, rows = self.proposals(point[None, :], proposed)
        unseen = float(self.unseen(point[None, :], squares[:, -1])[0])
        found = self._rank(point, rows[0], count, unseen)
        if count and found.distances[-1] >= unseen:  # more ties than the margin holds: look at everything
            return self._rank(point, everything, count, np.inf)
        return found

    def near(self, known: Neighbors, centre: Array, point: Array, count: int) -> Neighbors:
        """As `nearest`; if `point` is close to `centre`, the items `known` to be nearest to that decide."""
        moved = float(np.linalg.norm(point - centre))
        unseen = known.outside - moved - TIE * (1 + moved)
        found = self._rank(point, known.rows, count, unseen)
        if len(found.rows) == min(count, len(self)) and (not count or found.distances[-1] < unseen):
            return found
        return self.nearest(point, count)

    def nearest_of_label(self, point: Array, count: int, label: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) whose label has the number `label`."""
        arrangement = self._arrangement
        serials = [
            segment.columns.serials[places] for segment, places in arrangement.of_labels(np.array([label]))
        ]
        rows = np.sort(arrangement.rows(np.concatenate(serials))) if serials else np.zeros(0, np.int64)
        return self._rank(point, rows, count, np.inf)

    def nearest_of_others(self, point: Array, count: int, label: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) whose label has another number than `label`."""
        return self._nearest_among(point, count, lambda columns: columns.labels != label)

    def nearest_but(self, point: Array, count: int, row: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) besides that of `row`."""
        serial = self._arrangement.serials[row]
        return self._nearest_among(point, count, lambda columns: columns.serials != serial)

    def nearest_reached(self, point: Array, count: int) -> tuple[Neighbors, int]:
        """As `nearest`, of the items whose shards answer, and how many items were not looked at.

        So it is no basis for a certificate. Raises `ShardMissing` if nothing is left.
        """
        missing, left = set[int](), 0

        def reached(columns: Columns) -> NDArray[np.bool_]:
            vectors = elsewhere(columns.vectors)
            return np.full(len(columns), vectors is None or vectors.shard not in missing)

        while True:
            try:
                found = self._nearest_among(point, count, reached)
            except ShardMissing as error:
                missing.add(error.shard)
                left = sum(len(part) for part in self.parts if not reached(part.segment.columns).all())
                if left == len(self):
                    raise
            else:
                return found, left

    def _nearest_among(
        self, point: Array, count: int, wanted: Callable[[Columns], NDArray[np.bool_]]
    ) -> Neighbors:
        some = self._arrangement.only(wanted)
        found = ExactSearch(self._view, some).nearest(point, count)
        return replace(found, rows=self._arrangement.rows(some.serials[found.rows]))

    def proposals(self, points: Array, count: int) -> tuple[NDArray[np.float32], Rows]:
        """Squared distances, rising, and rows (n, count) of what FAISS finds nearest to `points` (n, d)."""
        parts = self.parts
        hits = self._view.search(parts, points.astype(np.float32), count)
        serials = np.empty(hits.places.shape, np.int64)
        for number, part in enumerate(parts):
            mine = hits.parts == number
            serials[mine] = part.segment.columns.serials[hits.places[mine]]
        return hits.squares, self._arrangement.rows(serials)

    def unseen(self, points: Array, squares: NDArray[np.float32]) -> Array:
        """What FAISS did not return is at least this far (n,); `squares` (n,): the farthest it returned."""
        slack = rounding(points, self._largest_norm)
        known = np.isfinite(slack)
        unseen = np.zeros(len(points))
        unseen[known] = np.sqrt(np.maximum(squares[known].astype(np.float64) - slack[known], 0.0))
        return unseen

    def _rank(self, point: Array, rows: Rows, count: int, unseen: float) -> Neighbors:
        """Order `rows` by float64 distance; `unseen` bounds the distance of all that are not in `rows`."""
        distances = np.empty(len(rows))
        for start in range(0, len(rows), BATCH):
            some = slice(start, start + BATCH)
            distances[some] = np.linalg.norm(self.exact(rows[some]) - point, axis=1)
        order = np.lexsort((self.keys(rows), distances))
        kept, rest = order[:count], order[count:]
        outside = min(unseen, float(distances[rest[0]])) if len(rest) else unseen
        return Neighbors(rows[kept], distances[kept], outside)

    @cached_property
    def _largest_norm(self) -> float:
        return max((part.segment.largest_norm for part in self.parts), default=0.0)
