"""Changes of a gallery by what embeds for it: items with vectors of one model, which are looked at first."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from index.changes import Condition, Outcome, if_new, put_items
from index.failures import GalleryError
from index.items import Item, NewItem
from index.store import GalleryStore


class EmbeddedItems:
    """The items of a `store` with their vectors by `model`, of `dimension` numbers each."""

    def __init__(self, store: GalleryStore, model: str, dimension: int) -> None:
        self._store, self._model, self._dimension = store, model, dimension

    def plain(self) -> tuple[list[Item], list[NDArray[np.float32]]]:
        """Items and their vectors before blending, from one version: for galleries that leave some out."""
        loaded = self._store.load(self._model, self._dimension)
        return loaded.items, loaded.vectors

    def add(self, items: Sequence[NewItem]) -> int:
        """Add or replace items; durable when it returns the new version. `GalleryError` on a bad vector."""
        for new in items:
            self._check(new.vector)
        return self._store.add(items, self._model)

    def put(self, items: Sequence[NewItem], condition: Condition = if_new) -> tuple[int, list[Outcome]]:
        """Add or replace items where `condition` allows it; as `index.changes.put_items`."""
        for new in items:
            self._check(new.vector)
        return put_items(self._store, items, self._model, condition)

    def set_vectors(
        self, vectors: dict[str, NDArray[np.float32]], images: Mapping[str, bytes] | None = None
    ) -> int:
        """Give items that are there this model's vectors; returns the new version.

        `images`: the `image_checksum` that each is of; an item that has another image by now is passed over.
        """
        for vector in vectors.values():
            self._check(vector)
        return self._store.set_vectors(vectors, self._model, images)

    def _check(self, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self._dimension,):
            raise GalleryError(f"this gallery holds vectors of {self._dimension} numbers, got {vector.shape}")
