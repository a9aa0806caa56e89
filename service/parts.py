"""What named galleries hold: items, listed and looked up in the view that a query is asked to."""

from collections.abc import Callable
from typing import TypeVar

from index import (
    Filter,
    GalleryStore,
    Item,
    Snapshot,
    StoredItem,
    image_of,
    item_of,
    page_of,
)
from service.errors import ItemNotFound
from service.gallery.check import shown
from service.gallery.failing import item_failures
from service.gallery.named import NamedGalleries, label_filter
from service.versions import newest

Result = TypeVar("Result")


class GalleryParts:
    """The items of each of the `named` galleries. Safe to share between threads.

    `snapshot` makes a view, within so many `seconds`. Every method raises `GalleryNotFound`, or what
    `Retriever.snapshot` raises; an item of another gallery is not there (`ItemNotFound`).
    """

    def __init__(
        self,
        named: NamedGalleries,
        store: GalleryStore,
        snapshot: Callable[[Filter | None, float | None], Snapshot],
        seconds: float,
    ) -> None:
        self._named, self._store, self._snapshot, self._seconds = named, store, snapshot, seconds

    def view(self, name: str, wanted: Filter | None = None) -> Snapshot:
        """What `wanted` leaves of one as it is now; None: all of it."""
        return self._snapshot(self._named.within(name, wanted), self._seconds)

    def page(self, name: str, most: int, after: int, label: str | None) -> tuple[list[Item], int | None]:
        """Up to `most` items in the order of addition, and where the next page begins, if there is one."""
        wanted = None if label is None else label_filter(label)
        with item_failures():
            return newest(lambda: page_of(self.view(name, wanted), most, after), "to be listed")

    def item(self, name: str, id_: str) -> StoredItem:
        """One item."""
        return self._looked_up(item_of, name, id_)

    def image(self, name: str, id_: str) -> tuple[bytes, str]:
        """The image file of an item as it was added, and its media type."""
        return self._looked_up(image_of, name, id_)

    def _looked_up(
        self, look_up: Callable[[GalleryStore, Snapshot, str], Result], name: str, id_: str
    ) -> Result:
        view = self.view(name)
        try:
            with item_failures():
                return look_up(self._store, view, id_)
        except ItemNotFound as error:
            raise ItemNotFound(
                f"there is no item {shown(id_)} in this gallery: see GET /galleries/{name}/items"
            ) from error
