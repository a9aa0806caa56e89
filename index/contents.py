"""The digest of what a gallery holds: a tree over labels, so that a change costs its own label only.

Equal content gives an equal digest, whatever it has been through: labels and items count as sets.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.columns import names

# Branches of the tree: labels by the first byte of their digests.
BRANCHES = 256


@dataclass(frozen=True, eq=False)
class Contents:
    """The digests of all labels (n,) in order, those of the branches, and the root."""

    labels: NDArray[np.bytes_]
    branches: tuple[bytes, ...]
    root: bytes

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> "Contents":
        """The tree over the digests (n, 32) of all labels."""
        leaves = np.sort(names(labels))
        return _with(leaves, tuple(_branch(leaves, branch) for branch in range(BRANCHES)))

    def changed(self, gone: NDArray[np.uint8], new: NDArray[np.uint8]) -> "Contents":
        """The tree without the labels whose digests are `gone` (k, 32), and with `new` (m, 32)."""
        leaves = np.delete(self.labels, np.searchsorted(self.labels, names(gone)))
        more = np.sort(names(new))
        leaves = np.insert(leaves, np.searchsorted(leaves, more), more)
        touched = {int(first) for digests in (gone, new) for first in digests[:, 0]}
        branches = list(self.branches)
        for branch in touched:
            branches[branch] = _branch(leaves, branch)
        return _with(leaves, tuple(branches))


def label_digest(name: str, items: NDArray[np.uint8]) -> bytes:
    """The digest (32,) of a label and the digests (n, 32) of its items, in any order."""
    text = name.encode()
    content = hashlib.sha256(b"label 1\0" + struct.pack(">QQ", len(text), len(items)) + text)
    content.update(np.sort(names(items)).tobytes())
    return content.digest()


def _with(leaves: NDArray[np.bytes_], branches: tuple[bytes, ...]) -> Contents:
    return Contents(leaves, branches, hashlib.sha256(b"labels 1\0" + b"".join(branches)).digest())


def _branch(leaves: NDArray[np.bytes_], branch: int) -> bytes:
    begin = np.searchsorted(leaves, bytes([branch]))
    end = len(leaves) if branch == BRANCHES - 1 else np.searchsorted(leaves, bytes([branch + 1]))
    return hashlib.sha256(b"branch 1\0" + leaves[begin:end].tobytes()).digest()
