"""One immutable version of the gallery, with exact search.

FAISS proposes in float32, float64 decides, and what was not returned is bounded from below with FAISS's
rounding taken into account: a missed rival would void a certificate.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray

from index.blending import blend, lift
from index.clusters import clustered
from index.flat import one_thread
from index.items import Item

Array = NDArray[np.float64]

# FAISS returns this many more than asked for, so that float32 ties at the border are settled in float64.
MARGIN = 16
# Items looked at for the vote of a point, points that vote at a time, and squared distances that are equal.
CANDIDATES = 16
VOTES = 1024
TIE = 1e-9
# Items that are written out at a time for the digest.
BATCH = 256


@dataclass(frozen=True)
class Neighbors:
    """The items nearest to a point: rows (k,) and distances (k,), nearest first, equal ones by row.

    `outside`: every item of the search that is not listed is at least this far; infinity if none is left.
    """

    rows: NDArray[np.int64]
    distances: Array
    outside: float


@dataclass(frozen=True)
class Votes:
    """The nearest item of each of n points (n,), and its label's code (n,); -1 where it is in doubt.

    The label may be certain where the item is not.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


class Snapshot:
    """Items and vectors (N, d) of one gallery version. Reads only, so threads may share it.

    `clusters` hold the vectors once more, those that are near each other together.

    With a `label_weight` above 0 the `vectors` are blended (`index.blending`), one number longer than
    embeddings; points to search for, and samples, are embeddings that went through `lift`.
    """

    def __init__(
        self,
        version: int,
        items: Sequence[Item],
        vectors: Sequence[NDArray[np.float32]],
        dimension: int,
        label_weight: float = 0.0,
    ) -> None:
        self.version = version
        self.items = tuple(items)
        self.label_names = sorted({item.label for item in items})
        codes = {name: code for code, name in enumerate(self.label_names)}
        self.labels = np.array([codes[item.label] for item in items], dtype=np.int64)
        plain = np.stack(vectors) if vectors else np.zeros((0, dimension), np.float32)
        self._label_weight = label_weight
        self._blended = label_weight > 0
        self.vectors = np.ascontiguousarray(
            blend(plain, self.labels, label_weight) if self._blended else plain
        )
        self._index = faiss.IndexFlatL2(self.vectors.shape[1])
        self._index.add(self.vectors)
        self.clusters = clustered(self.vectors)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides an answer: the galleries of two replicas may differ in one version.

        Equal content gives an equal digest, whatever its version. It takes about 1 s for 1M x 128, once.
        """
        content = hashlib.sha256(b"retrievalguard gallery 1\0")
        content.update(struct.pack(">QQd", *self.vectors.shape, self._label_weight))
        content.update(self.vectors.astype("<f4", copy=False).data)
        write = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
        for start in range(0, len(self), BATCH):
            batch = [(item.id, item.label, item.metadata) for item in self.items[start : start + BATCH]]
            content.update(write(batch).encode() + b"\n")
        return "sha256:" + content.hexdigest()

    @cached_property
    def _largest_norm(self) -> float:
        return float(np.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors).max(initial=0.0)))

    def lift(self, samples: NDArray[np.floating]) -> Array:
        """Embeddings (n, d) as points among `vectors`, in float64."""
        return lift(samples) if self._blended else samples.astype(np.float64)

    def exact(self, rows: NDArray[np.int64]) -> Array:
        """The vectors (k, d) of `rows`, in float64: fixed numbers, the gallery itself."""
        return self.vectors[rows].astype(np.float64)

    def nearest(self, point: Array, count: int) -> Neighbors:
        """The `count` items nearest to `point` (d,), or all if there are fewer."""
        everything = np.arange(len(self))
        proposed = count + MARGIN
        if proposed >= len(self):
            return self._rank(point, everything, count, np.inf)
        query = point.astype(np.float32)[None, :]
        with one_thread():
            squares, rows = self._index.search(query, proposed)
        unseen = float(self._unseen(point[None, :], squares[:, -1])[0])
        found = self._rank(point, rows[0].astype(np.int64), count, unseen)
        if count and found.distances[-1] > unseen:  # more ties than the margin holds: look at everything
            return self._rank(point, everything, count, np.inf)
        return found

    def nearest_of_label(self, point: Array, count: int, label: int) -> Neighbors:
        """The `count` items nearest to `point` (d,) whose label is `label` (a code of `labels`)."""
        return self._rank(point, np.flatnonzero(self.labels == label), count, np.inf)

    def votes(self, points: Array, slack: float = 0.0) -> Votes:
        """The item nearest to each of `points` (n, d), each of which may be off by `slack`.

        A vote that moving the point by `slack`, or rounding, might change is in doubt.
        """
        votes = [self._vote(points[start : start + VOTES], slack) for start in range(0, len(points), VOTES)]
        return Votes(np.concatenate([v.rows for v in votes]), np.concatenate([v.labels for v in votes]))

    def _vote(self, points: Array, slack: float) -> Votes:
        proposed = min(CANDIDATES, len(self))
        with one_thread():
            squares, rows = self._index.search(points.astype(np.float32), proposed)
        vectors = self.exact(rows)
        distances = np.linalg.norm(vectors - points[:, None, :], axis=2)
        nearest = np.lexsort((rows, distances), axis=1)[:, :1]
        best = np.take_along_axis(rows, nearest, 1)[:, 0].astype(np.int64)
        first = np.take_along_axis(distances, nearest, 1)
        apart = np.linalg.norm(vectors - self.exact(best)[:, None, :], axis=2)
        # The distance of the point from the plane half-way between both items.
        close = distances**2 - first**2 <= 2 * apart * slack + TIE
        if proposed < len(self):
            unseen = self._unseen(points, squares[:, -1])
            hidden = unseen**2 - first[:, 0] ** 2 <= 2 * (unseen + first[:, 0]) * slack + TIE
        else:
            hidden = np.zeros(len(points), np.bool_)
        other = self.labels[rows] != self.labels[best][:, None]
        return Votes(
            np.where(((rows != best[:, None]) & close).any(axis=1) | hidden, -1, best),
            np.where((other & close).any(axis=1) | hidden, -1, self.labels[best]),
        )

    def _unseen(self, points: Array, squares: NDArray[np.float32]) -> Array:
        """What FAISS did not return is at least this far (n,); `squares` (n,): the farthest it returned.

        ||q||² - 2<q, r> + ||r||² in float32, and the rounding of the query: off by at most a few d units.
        """
        scale = (np.linalg.norm(points, axis=1) + self._largest_norm) ** 2
        slack = 4 * (points.shape[1] + 4) * float(np.finfo(np.float32).eps) * scale
        unseen: Array = np.sqrt(np.maximum(squares.astype(np.float64) - slack, 0.0))
        return unseen

    def _rank(self, point: Array, rows: NDArray[np.int64], count: int, unseen: float) -> Neighbors:
        """Order `rows` by float64 distance; `unseen` bounds the distance of all that are not in `rows`."""
        distances = np.linalg.norm(self.exact(rows) - point, axis=1)
        order = np.lexsort((rows, distances))
        kept, rest = order[:count], order[count:]
        outside = min(unseen, float(distances[rest[0]])) if len(rest) else unseen
        return Neighbors(rows[kept], distances[kept], outside)
