"""What a search has to know of items, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Serials = NDArray[np.int64]
Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Columns:
    """n items.

    serials  (n,) their numbers in the order of addition: rows of the gallery file, never given out again
    labels   (n,) numbers of labels (`index.labels`)
    digests  (n, 32) of all that is known of each (`index.checksums.content_digest`)
    vectors  (n, d) float32, as they are searched
    """

    serials: Serials
    labels: NDArray[np.int32]
    digests: NDArray[np.uint8]
    vectors: Singles

    def __len__(self) -> int:
        return len(self.serials)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(getattr(self, each.name).nbytes for each in fields(self))

    @classmethod
    def none(cls, dimension: int) -> Self:
        """No items, with vectors of `dimension` numbers."""
        return cls(
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros((0, 32), np.uint8),
            np.zeros((0, dimension), np.float32),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The items of `parts`, one part after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Some of the items."""
        return type(self)(*(getattr(self, each.name)[places] for each in fields(self)))

    @property
    def bare(self) -> Self:
        """The items without their vectors."""
        return type(self)(self.serials, self.labels, self.digests, np.zeros((len(self), 0), np.float32))

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The first bytes of `digests` (n,): in this order are items that are equally near."""
        return keys(self.digests)

    def in_order(self) -> Self:
        """The items in the order of their digests."""
        return self.take(np.argsort(names(self.digests), kind="stable"))


def keys(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first eight bytes of each of `digests` (n, 32), as a number."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def names(digests: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """`digests` (n, 32) as values that can be sorted and searched (n,)."""
    return np.ascontiguousarray(digests).view("S32").reshape(-1)
