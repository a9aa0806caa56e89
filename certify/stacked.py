"""Arrays that are read as if they stood one upon the other, each where it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]
Rows = NDArray[np.int64]


class Stacked:
    """Rows (N, d) of several arrays (n_i, d) float32, in their order; nothing is copied."""

    def __init__(self, parts: Sequence[Singles]) -> None:
        self._parts = tuple(parts)
        self._begins = np.cumsum([0, *map(len, self._parts)])
        self.shape = (int(self._begins[-1]), self._parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | NDArray[np.bool_] | slice) -> Singles:
        """Some of the rows, by their numbers (k,) or a mask (N,): an array of its own (k, d).

        A slice from one number to another within one of the arrays is a view of it.
        """
        if isinstance(rows, slice):
            number = int(np.searchsorted(self._begins, rows.start, side="right")) - 1
            begin = self._begins[number]
            return self._parts[number][rows.start - begin : rows.stop - begin]
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        found = np.empty((len(rows), self.shape[1]), np.float32)
        of = np.searchsorted(self._begins, rows, side="right") - 1
        for number in np.unique(of).tolist():
            mine = of == number
            found[mine] = self._parts[number][rows[mine] - self._begins[number]]
        return found
