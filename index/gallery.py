"""The gallery in use: the store, and the snapshot of its newest version."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.changes import Condition, Outcome, if_new, put_items
from index.failures import GalleryError
from index.items import Item, NewItem
from index.snapshot import Snapshot
from index.store import GalleryStore


class Gallery:
    """A gallery file seen through one embedding model.

    `model` names the embedding (model digest, σ, samples an item): vectors of different models never mix.
    `label_weight`: how much of an item's distance is its label's (`index.blending`). `damaged`: ids of items
    that the newest snapshot leaves out, because what the file holds of them, or of their vectors, is not what
    was stored.
    """

    damaged: tuple[str, ...]
    _unembedded: tuple[str, ...]

    def __init__(self, path: Path, model: str, dimension: int, label_weight: float = 0.0) -> None:
        self.store = GalleryStore(path)
        self._model = model
        self._dimension = dimension
        self._label_weight = label_weight
        self._lock = threading.Lock()
        try:
            self._snapshot = self._load()
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def beside(self, path: Path) -> "Gallery":
        """The gallery in another file, seen through the same model."""
        return Gallery(path, self._model, self._dimension, self._label_weight)

    def _load(self) -> Snapshot:
        loaded = self.store.load(self._model, self._dimension)
        self.damaged, self._unembedded = loaded.damaged, loaded.unembedded
        return Snapshot(loaded.version, loaded.items, loaded.vectors, self._dimension, self._label_weight)

    def snapshot(self) -> Snapshot:
        """The newest version, also when another process wrote it. Readers keep theirs: it never changes."""
        if self._snapshot.version != self.store.version():
            with self._lock:
                if self._snapshot.version != self.store.version():
                    self._snapshot = self._load()
        return self._snapshot

    def plain(self) -> tuple[list[Item], list[NDArray[np.float32]]]:
        """Items and their vectors before blending, from one version: for galleries that leave some out."""
        loaded = self.store.load(self._model, self._dimension)
        return loaded.items, loaded.vectors

    def missing(self) -> list[str]:
        """Ids of items without a sound vector by this model: they are not searched until it embeds them."""
        self.snapshot()
        return list(self._unembedded)

    def add(self, items: Sequence[NewItem]) -> int:
        """Add or replace items; durable when it returns the new version. `GalleryError` on a bad vector."""
        for new in items:
            self._check(new.vector)
        return self.store.add(items, self._model)

    def put(self, items: Sequence[NewItem], condition: Condition = if_new) -> tuple[int, list[Outcome]]:
        """Add or replace items where `condition` allows it; as `index.changes.put_items`."""
        for new in items:
            self._check(new.vector)
        return put_items(self.store, items, self._model, condition)

    def set_vectors(
        self, vectors: dict[str, NDArray[np.float32]], images: Mapping[str, bytes] | None = None
    ) -> int:
        """Give items that are there this model's vectors; returns the new version.

        `images`: the `image_checksum` that each is of; an item that has another image by now is passed over.
        """
        for vector in vectors.values():
            self._check(vector)
        return self.store.set_vectors(vectors, self._model, images)

    def _check(self, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self._dimension,):
            raise GalleryError(f"this gallery holds vectors of {self._dimension} numbers, got {vector.shape}")
