"""What a gallery is asked with: held-out images, those of another source, or its own items one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from evaluation.workbench import held_out, spread
from index import Gallery
from models.datasets import DATASETS
from service.errors import GalleryEmpty
from service.gallery.findings import Findings
from service.gallery.sources import published, sources
from service.images import png


@dataclass(frozen=True)
class QueryImage:
    """An image file that should be answered with `label`.

    `read` gives its bytes; `row`: its place in the gallery, which is to answer without it.
    """

    id: str
    label: str
    read: Callable[[], bytes]
    row: int | None = None


def is_data_set(origin: str) -> bool:
    """Whether `gallery add` would take `origin` for a data set: a folder of that name goes first."""
    return origin in DATASETS and not Path(origin).is_dir()


def of_data_set(name: str, count: int) -> list[QueryImage]:
    """`count` held-out images of a data set, evenly spread."""
    images = held_out(name, count)
    return [
        QueryImage(id_, label, partial(png, pixels))
        for id_, label, pixels in zip(images.ids, images.labels, images.pixels, strict=True)
    ]


def of_source(origin: str, count: int) -> list[QueryImage]:
    """`count` images of what `gallery add` reads, evenly spread; of a data set, those that are held out.

    Raises `ImportFailure`.
    """
    if is_data_set(origin):
        return of_data_set(origin, count)
    return _spread(sources(origin), count)


def of_published(name: str, root: Path, count: int) -> list[QueryImage]:
    """`count` queries of a published data set, evenly spread; raises `ImportFailure`, `DataSetError`."""
    return _spread(published(name, root, "query"), count)


def left_out(queries: Sequence[QueryImage], gallery: Gallery) -> list[QueryImage]:
    """The `queries`; those that are items of the `gallery`, by their id, are to be answered without them."""
    rows = {item.id: row for row, item in enumerate(gallery.plain()[0])}
    return [replace(query, row=rows.get(query.id)) for query in queries]


def _spread(found: Findings, count: int) -> list[QueryImage]:
    chosen = [found.sources[row] for row in spread(len(found.sources), count).tolist()]
    return [QueryImage(source.item.id, source.item.label, source.read) for source in chosen]


def of_gallery(gallery: Gallery, count: int) -> list[QueryImage]:
    """`count` items of the `gallery`, evenly spread, each to be answered without itself.

    Raises `GalleryEmpty` when there are not two items.
    """
    items, _ = gallery.plain()
    if len(items) < 2:
        raise GalleryEmpty("leaving one out takes two items: `retrievalguard gallery add FOLDER`")

    chosen = [(row, items[row]) for row in spread(len(items), count).tolist()]
    return [QueryImage(item.id, item.label, partial(_image, gallery, item.id), row) for row, item in chosen]


def _image(gallery: Gallery, id_: str) -> bytes:
    return gallery.store.image(id_)[0]
