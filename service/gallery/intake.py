"""From sources to stored items: decode, embed, add. The one way into the gallery."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from index import Gallery, GalleryError, Item, NewItem
from models import SmoothedModel
from service.errors import Problem
from service.gallery.sources import Source
from service.images import media_type

# Items in one transaction: a crash loses at most these, and a progress bar moves.
BATCH = 64

Progress = Callable[[Iterable[Source]], Iterable[Source]]


class Intake:
    """Embeds images for one gallery. `decode`: an image file to the input tensor (C, H, W).

    `samples`: Monte Carlo samples behind each gallery vector.
    """

    def __init__(
        self,
        gallery: Gallery,
        smoothed: SmoothedModel,
        decode: Callable[[bytes], NDArray[np.float32]],
        samples: int,
    ) -> None:
        self._gallery, self._smoothed, self._decode, self._samples = gallery, smoothed, decode, samples

    def prepare(self, item: Item, content: bytes) -> NewItem:
        """Decode and embed an image file for the gallery; raises the image problems of `service.errors`."""
        vector = self._smoothed.mean(self._decode(content), self._samples)
        return NewItem(item, content, media_type(content), vector)

    def holds(self, item: Item, content: bytes) -> bool:
        """Whether the gallery has this very item, with this very image."""
        store = self._gallery.store
        try:
            return store.item(item.id) == item and store.image(item.id)[0] == content
        except GalleryError:
            return False

    def add(
        self,
        found: Sequence[Source],
        *,
        batch: int = BATCH,
        progress: Progress = lambda sources: sources,
        refused: Callable[[Source, Exception], None],
    ) -> int:
        """Store what is new or changed, `batch` items a transaction; returns how many were refused.

        `refused` is told of each, with the error that says why.
        """
        count, prepared = 0, list[NewItem]()
        for source in progress(found):
            try:
                content = source.read()
                if not self.holds(source.item, content):
                    prepared.append(self.prepare(source.item, content))
            except (OSError, Problem) as error:
                refused(source, error)
                count += 1
            if len(prepared) == batch:
                self._gallery.add(prepared)
                prepared = []
        if prepared:
            self._gallery.add(prepared)
        return count

    def embed_missing(self, progress: Callable[[Iterable[str]], Iterable[str]]) -> None:
        """Give items that this model has not embedded yet their vectors; `progress` wraps their ids."""
        missing = self._gallery.missing()
        if missing:
            self._gallery.set_vectors(
                {
                    id_: self._smoothed.mean(self._decode(self._gallery.store.image(id_)[0]), self._samples)
                    for id_ in progress(missing)
                }
            )
