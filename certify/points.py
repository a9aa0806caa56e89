"""Samples as the kernels need them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

# Rounding up, of what float32 may have rounded down.
UP = 1 + 1e-5


@dataclass(frozen=True)
class Points:
    """Samples, one a column.

    columns  (d, n) float32
    spread   (n,) their distances from the centre of the selection in float32, or a little more
    """

    columns: Singles
    spread: Singles

    def __len__(self) -> int:
        return len(self.spread)

    @classmethod
    def of(cls, samples: NDArray[np.floating], centre: NDArray[np.floating]) -> Self:
        """`samples` (n, d), centre (d,)."""
        gaps = samples - centre.astype(np.float32).astype(np.float64)
        spread = (np.sqrt(np.einsum("nd,nd->n", gaps, gaps)) * UP).astype(np.float32)
        return cls(np.ascontiguousarray(samples.T, np.float32), spread)
