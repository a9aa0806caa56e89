"""What the answers of a shard have to be: anything else is no answer, and another copy is asked."""

import hashlib
from collections.abc import Sequence

import numpy as np

from index.columns import Singles
from index.segment import LiveSegment
from index.shards.messages import Array, Part


def check_hits(
    arrays: Sequence[Array], parts: Sequence[LiveSegment], asked: Sequence[Part], points: Singles, count: int
) -> None:
    """Of a `Search`: of the very parts that were asked about, as many as there must be, in order."""
    squares, numbers, places, leaves = _of(arrays, np.float32, np.int32, np.int64, np.uint8)
    shape = len(points), min(count, sum(map(len, parts)))
    if not squares.shape == numbers.shape == places.shape == shape:
        raise ValueError(f"a shard found {squares.shape} items, not {shape}")
    if leaves.tobytes() != b"".join(each.digest for each in asked):
        raise ValueError("a shard searched other parts than it was asked to")
    if not np.isfinite(squares).all() or (squares < 0).any() or (np.diff(squares, axis=1) < 0).any():
        raise ValueError("a shard found distances that cannot be")
    if ((numbers < 0) | (numbers >= len(parts))).any():
        raise ValueError("a shard found items of parts that it was not asked about")
    for number, part in enumerate(parts):
        mine = places[numbers == number]
        if ((mine < 0) | (mine >= len(part.segment))).any():
            raise ValueError("a shard found items that do not exist")
        if part.alive is not None and not part.alive[mine].all():
            raise ValueError("a shard found items that are not there")
    names = np.sort((numbers.astype(np.int64) << 32) + places, axis=1)
    if (np.diff(names, axis=1) == 0).any():
        raise ValueError("a shard found an item twice")


def check_rows(arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> None:
    """Of a `Fetch` or `Multiply`: float32 arrays of such shapes, all of them finite."""
    for found, shape in zip(_of(arrays, *[np.float32] * len(shapes)), shapes, strict=True):
        if found.shape != shape:
            raise ValueError(f"a shard sent numbers {found.shape}, not {shape}")
        if not np.isfinite(found).all():
            raise ValueError("a shard sent numbers that are not finite")


def check_held(arrays: Sequence[Array], marks: int) -> None:
    """Of a `Keep`: yes or no for each of the marks."""
    (held,) = _of(arrays, np.bool_)
    if held.shape != (marks,):
        raise ValueError("a shard did not say what it holds")


def check_nothing(arrays: Sequence[Array]) -> None:
    """Of a `Hold`, and of a `Fetch` of nothing."""
    _of(arrays)


def whole(leaves: Sequence[bytes]) -> bytes:
    """The digest of a version's parts, from theirs."""
    return hashlib.sha256(b"parts 1\0" + b"".join(leaves)).digest()


def _of(arrays: Sequence[Array], *types: type[np.generic]) -> Sequence[Array]:
    if len(arrays) != len(types):
        raise ValueError(f"a shard sent {len(arrays)} arrays, not {len(types)}")
    for array, kind in zip(arrays, types, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != kind:
            raise ValueError("a shard sent what is no array of the right numbers")
    return arrays
