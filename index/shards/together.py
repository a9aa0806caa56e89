"""Arrays, some of which stand elsewhere, that are read as if they stood one upon the other.

It stands for the rows of `certify.Vectors`, of which some are taken, and runs multiplied with a point.
"""

import threading
from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from index.columns import Singles
from index.shards.elsewhere import RunElsewhere, elsewhere, gathered

Numbers = NDArray[np.int64]

# Products that a thread has asked for and not yet looked at: the first look brings them all.
_asked = threading.local()


class Together:
    """Rows (N, d) of several arrays (n_i, d) float32, in their order; nothing is copied."""

    def __init__(self, parts: Sequence[Singles]) -> None:
        self._parts = tuple(parts)
        self._begins = np.cumsum([0, *map(len, self._parts)])
        self.shape = (int(self._begins[-1]), self._parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Numbers | NDArray[np.bool_] | slice) -> "Singles | _Multiplied":
        """Some of the rows, by their numbers (k,) or a mask (N,): an array of its own (k, d).

        A slice within one of the arrays is a view of it, or what can be multiplied where it stands.
        """
        if isinstance(rows, slice):
            number = int(np.searchsorted(self._begins, rows.start, side="right")) - 1
            first, last = rows.start - self._begins[number], rows.stop - self._begins[number]
            vectors = elsewhere(self._parts[number])
            if vectors is None:
                return self._parts[number][first:last]
            return _Multiplied(RunElsewhere(vectors, int(first), int(last)))
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        of = np.searchsorted(self._begins, rows, side="right") - 1
        numbers = np.unique(of).tolist()
        mine = [of == number for number in numbers]
        found = np.empty((len(rows), self.shape[1]), np.float32)
        brought = gathered(
            [
                (self._parts[number], rows[some] - self._begins[number])
                for number, some in zip(numbers, mine, strict=True)
            ]
        )
        for some, taken in zip(mine, brought, strict=True):
            found[some] = taken
        return found


class _Multiplied:
    """Rows elsewhere, of which only the products with a point are ever wanted."""

    def __init__(self, run: RunElsewhere) -> None:
        self._run = run

    def __matmul__(self, point: Singles) -> "_Product":
        product = _Product(self._run, point)
        if not hasattr(_asked, "products"):
            _asked.products = []
        _asked.products.append(ref(product))  # one that nobody will look at is not asked for
        return product


class _Product:
    """The product (k,) of a run of rows with a point, as an array once numpy looks at it."""

    def __init__(self, run: RunElsewhere, point: Singles) -> None:
        self._run, self._point = run, point
        self._found: list[Singles] = []

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Singles:
        if not self._found:
            asked = [each for known in _asked.products if (each := known()) is not None]
            _asked.products = []
            others = [each for each in asked if each._point is self._point and each is not self]
            runs = [each._run for each in (self, *others)]
            products = self._run.vectors.holder.products(runs, self._point)
            for each, product in zip((self, *others), products, strict=True):
                each._found.append(product)
        return self._found[0] if dtype is None else self._found[0].astype(dtype)
