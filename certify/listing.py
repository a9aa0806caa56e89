"""The gallery as one guarantee sees it: who may win, who is a rival, and how far all other rivals are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Listing:
    """The winners and rivals that a guarantee is about, chosen with the selection samples alone.

    winners  (A, d) items that may stand for the answer: the item itself, or items of its label; A >= 1
    rivals   (K, d) the listed items that must stay behind
    centre   (d,) the selection mean around which they were listed
    outside  every rival in the gallery that is not listed is at least this far from `centre`; infinity
             when all are listed
    """

    winners: Array
    rivals: Array
    centre: Array
    outside: float

    @property
    def complete(self) -> bool:
        """Whether every rival is listed."""
        return self.outside == np.inf

    @property
    def finite(self) -> bool:
        """Whether every number in it is one; `outside` may be infinity."""
        vectors = (self.winners, self.rivals, self.centre)
        return all(np.isfinite(vector).all() for vector in vectors) and not np.isnan(self.outside)

    def outside_distance(self, point: Array) -> float:
        """A lower bound of the distance from `point` to every unlisted rival (triangle inequality)."""
        return float(self.outside - np.linalg.norm(point - self.centre))
