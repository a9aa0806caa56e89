"""Embedding spaces, their members, and the extreme ones among these, for property tests."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace

Array = NDArray[np.float64]
spaces = st.builds(
    EmbeddingSpace,
    nonnegative=st.booleans(),
    norm_bound=st.floats(0.5, 2),
    slack=st.sampled_from([0.0, 0.05]),
    padded=st.booleans(),
)
seeds = st.integers(0, 2**32)


def members(space: EmbeddingSpace, dimension: int, rng: np.random.Generator) -> Array:
    """Random members of the set: on its sphere, inside, at the ends of the axes and at the origin."""
    directions = np.concatenate(
        [rng.standard_normal((200, dimension)), np.eye(dimension), -np.eye(dimension)]
    )
    if space.nonnegative:
        directions = np.maximum(directions, 0.0)
    if space.padded:
        directions[:, -1] = 0.0
    directions /= np.maximum(np.linalg.norm(directions, axis=1), 1e-300)[:, None]
    lengths = np.where(rng.random(len(directions)) < 0.5, 1.0, rng.random(len(directions)))
    return np.concatenate([space.norm_bound * lengths[:, None] * directions, np.zeros((1, dimension))])


def extreme(space: EmbeddingSpace, weight: Array) -> Array:
    """The member with the largest inner product with `weight`."""
    towards = np.maximum(weight, 0.0) if space.nonnegative else weight.copy()
    if space.padded:
        towards[-1] = 0.0
    length = np.linalg.norm(towards)
    return space.norm_bound * towards / length if length > 0 else np.zeros_like(weight)
