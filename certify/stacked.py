"""Arrays that are read as if they stood one upon the other, each where it is."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]
Rows = NDArray[np.int64]
# Of each array (n, d) its rows (k, d) at places (k,).
Gather = Callable[[Sequence[tuple[Singles, Rows]]], Sequence[Singles]]
# Of each array (n, d) the products of its rows from a first to before a last with a point (d,).
Multiply = Callable[[Sequence[tuple[Singles, int, int]], Singles], Sequence[Singles]]


def gathered(wanted: Sequence[tuple[Singles, Rows]]) -> Sequence[Singles]:
    """The rows of arrays that are here."""
    return [array[places] for array, places in wanted]


def multiplied(runs: Sequence[tuple[Singles, int, int]], point: Singles) -> Sequence[Singles]:
    """The products of rows that are here."""
    return [array[first:last] @ point for array, first, last in runs]


class Stacked:
    """Rows (N, d) of several arrays (n_i, d) float32, in their order; nothing is copied.

    gather, multiply  how the arrays are read: some may be elsewhere, and are asked together
    """

    def __init__(
        self, parts: Sequence[Singles], gather: Gather = gathered, multiply: Multiply = multiplied
    ) -> None:
        self._parts = tuple(parts)
        self._gather, self._multiply = gather, multiply
        self._begins = np.cumsum([0, *map(len, self._parts)])
        self.shape = (int(self._begins[-1]), self._parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | NDArray[np.bool_]) -> Singles:
        """Some of the rows, by their numbers (k,) or a mask (N,): an array of its own (k, d)."""
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        found = np.empty((len(rows), self.shape[1]), np.float32)
        of = np.searchsorted(self._begins, rows, side="right") - 1
        numbers = np.unique(of).tolist()
        mine = [of == number for number in numbers]
        wanted = [
            (self._parts[number], rows[some] - self._begins[number])
            for number, some in zip(numbers, mine, strict=True)
        ]
        for some, taken in zip(mine, self._gather(wanted), strict=True):
            found[some] = taken
        return found

    def products(self, firsts: Rows, lasts: Rows, point: Singles) -> Sequence[Singles]:
        """The products with `point` (d,) of the rows from each of `firsts` to before that of `lasts`.

        Each run is within one of the arrays.
        """
        of = np.searchsorted(self._begins, firsts, side="right") - 1
        begins = self._begins[of]
        runs = zip(of.tolist(), (firsts - begins).tolist(), (lasts - begins).tolist(), strict=True)
        return self._multiply([(self._parts[number], first, last) for number, first, last in runs], point)
