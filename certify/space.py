"""The set in which every embedding provably lies, and what follows from it for margins."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Half a unit in the last place of float32, relative: what one operation rounds by at most.
UNIT = 2.0**-24


def normalized_bound(dimension: int) -> float:
    """The largest norm of a vector of `dimension` numbers that was divided by its norm in float32.

    A float32 sum of d squares, in any order, fused or not, is off by a factor of at most 1 ± γ, with
    γ = d u / (1 - d u) and u = 2^-24 (Higham 2002, section 3.1). Its root rounds once more, and so does each
    quotient: the result is no longer than (1 + u) / ((1 - u) √(1 - γ)), about 1 + (d/2 + 2) u.
    Squares that underflow are not covered: h keeps its coordinates away from 0. Raises `ValueError` where
    float32 would tell nothing.
    """
    lost = dimension * UNIT
    if not 0 < lost < 0.25:
        raise ValueError(f"no bound is known for float32 vectors of {dimension} dimensions")
    exact = (1 + UNIT) / ((1 - UNIT) * math.sqrt(1 - lost / (1 - lost)))
    return exact * (1 + 1e-15)  # this was float64


@dataclass(frozen=True)
class EmbeddingSpace:
    """{v : ||v|| <= norm_bound}, and v >= 0 in every coordinate if `nonnegative`.

    A network whose head ends in a ReLU has non-negative embeddings *by construction*, not by observation.
    The set is what the worst unseen outcome of the network may be, so a smaller set is a larger radius.
    Embeddings that were normalised in float32 may be a little longer than 1, see `normalized`.

    `slack` bounds ||sample - h(u)||: what a sample may be off because of where in its batch it stood. A
    convolution adds its terms in an order that may depend on that, in float32 or bf16.

    `padded`: the last coordinate of every v is 0.
    """

    nonnegative: bool = False
    norm_bound: float = 1.0
    slack: float = 0.0
    padded: bool = False

    @classmethod
    def normalized(
        cls, dimension: int, *, nonnegative: bool = False, slack: float = 0.0, padded: bool = False
    ) -> Self:
        """Where vectors of `dimension` numbers lie that were normalised in float32; padding not counted."""
        return cls(nonnegative, normalized_bound(dimension), slack, padded)

    def lower_end(self, weights: Array, offsets: Array) -> Array:
        """A number (K,) that <v, w_k> - c_k is not below in the set; `weights` (K, d), `offsets` (K,).

        Over the ball: -F||w||. Over ball and orthant the positive part of w drops out: <v, w> >= -<v, w_-> >=
        -F||w_-||, attained at v = F w_-/||w_-||, or 0 at v = 0.
        """
        if self.padded:
            weights = weights[:, :-1]
        if self.nonnegative:
            weights = np.minimum(weights, 0.0)
        found: Array = -self.norm_bound * np.sqrt(np.einsum("kd,kd->k", weights, weights)) - offsets
        return found

    def holds(self, samples: NDArray[np.floating]) -> bool:
        """Whether every row of `samples` (n, d) is finite and lies in the set. NaN does not."""
        if not np.isfinite(samples).all():
            return False
        if self.nonnegative and samples.min(initial=0.0) < 0:
            return False
        if self.padded and samples[:, -1].any():
            return False
        squares = np.einsum("nd,nd->n", samples, samples, dtype=np.float64)
        return bool(squares.max(initial=0.0) <= self.norm_bound**2)
