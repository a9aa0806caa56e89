"""The set in which every embedding provably lies, and what follows from it for margins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EmbeddingSpace:
    """{v : ||v|| <= norm_bound}, and v >= 0 in every coordinate if `nonnegative`.

    A network whose head ends in a ReLU has non-negative embeddings *by construction*, not by observation.
    The set is what the worst unseen outcome of the network may be, so a smaller set is a larger radius.
    `norm_bound` exceeds 1 by a slack for float32: normalising d numbers is off by less than d units in the
    last place (6e-8 each), far less in practice.

    `slack` bounds ||sample - h(u)||: what a sample may be off because of where in its batch it stood. A
    convolution adds its terms in an order that may depend on that, in float32 or bf16.

    `padded`: the last coordinate of every v is 0.
    """

    nonnegative: bool = False
    norm_bound: float = 1 + 1e-5
    slack: float = 0.0
    padded: bool = False

    def linear_range(self, weights: Array, offsets: Array) -> tuple[Array, Array]:
        """Minimum and maximum (K,) of <v, w_k> - c_k over the set; `weights` (K, d), `offsets` (K,).

        Over the ball: -+F||w||. Over ball and orthant, the minimum drops the positive part of w
        (<v, w> >= -<v, w_-> >= -F||w_-||, attained at v = F w_-/||w_-||, or 0 at v = 0), the maximum the
        negative part.
        """
        if self.padded:
            weights = weights[:, :-1]
        if not self.nonnegative:
            norms = np.linalg.norm(weights, axis=1)
            return -self.norm_bound * norms - offsets, self.norm_bound * norms - offsets
        below = np.linalg.norm(np.minimum(weights, 0.0), axis=1)
        above = np.linalg.norm(np.maximum(weights, 0.0), axis=1)
        return -self.norm_bound * below - offsets, self.norm_bound * above - offsets

    def farthest_squared(self, point: Array) -> float:
        """An upper bound of ||v - point||² over the set: F² + ||point||² - 2 min <v, point>."""
        low, _ = self.linear_range(point[None, :], np.zeros(1))
        return float(self.norm_bound**2 + point @ point - 2 * low[0])

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
