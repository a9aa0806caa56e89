"""What a search finds in several parts, put together as if it had found it in one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Hits:
    """The k items nearest to each of n points, nearest first; equally near ones by part, then as found there.

    squares  (n, k) squared distances
    parts    (n, k) numbers of parts
    places   (n, k) where they are in their parts
    """

    squares: Singles
    parts: NDArray[np.int32]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, part: int, squares: Singles, places: NDArray[np.int64]) -> Self:
        """What was found in one part."""
        return cls(squares, np.full(squares.shape, part, np.int32), places)


def merged(found: Sequence[Hits], count: int) -> Hits:
    """The `count` nearest of what was `found` in disjoint sets of parts, in each its own `count` nearest.

    The same whatever the sets: so it may be done in steps.
    """
    squares, parts, places = (
        np.concatenate([getattr(each, name) for each in found], axis=1)
        for name in ("squares", "parts", "places")
    )
    order = np.lexsort((parts, squares), axis=1)[:, :count]  # stable: within a part the order stays
    return Hits(*(np.take_along_axis(each, order, 1) for each in (squares, parts, places)))
