"""What experiments work on: a gallery, filled, and the queries that it is asked."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

import evaluation
from evaluation.queries import (
    QueryImage,
    is_data_set,
    left_out,
    of_gallery,
    of_published,
    of_source,
)
from evaluation.workbench import opened, own_gallery
from index import Snapshot
from models.code import code_digest
from service.gallery.findings import ImportFailure
from service.gallery.sources import published, sources
from service.retrieval.repeats import CODE
from service.retriever import Retriever
from service.settings import Settings

Thing = TypeVar("Thing")


class Progress(Protocol):
    """Shows how far a loop is: `things`, one by one, and what is done with them."""

    def __call__(self, things: Iterable[Thing], what: str) -> Iterable[Thing]:
        """The same things."""


def silent(things: Iterable[Thing], what: str) -> Iterable[Thing]:
    """Shows nothing."""
    return things


@dataclass(frozen=True)
class Material:
    """A gallery and who asks it, by name.

    gallery  what `gallery add` reads; of a data set its gallery part. None: the gallery in the data folder
    asking   what asks: another such source. None: the queries of a data set, else each item of the gallery;
             who is in the gallery is answered without itself
    queries  at most so many, evenly spread
    root     where the published data set lies that `gallery` names; None: it names none
    """

    gallery: str | None
    asking: str | None
    queries: int
    root: Path | None = None

    @property
    def name(self) -> str:
        """What the gallery is called in reports."""
        return "gallery" if self.gallery is None else self.gallery


@dataclass
class Laid:
    """The material at hand: a retriever with the gallery, the queries, and warnings about the gallery."""

    retriever: Retriever
    queries: list[QueryImage]
    warnings: list[str] = field(default_factory=list)

    @property
    def one_less(self) -> bool:
        """Whether queries are items of the gallery, which answers without them."""
        return any(query.row is not None for query in self.queries)

    def snapshot(self, query: QueryImage) -> Snapshot:
        """The gallery that answers `query`."""
        if query.row is None:
            return self._whole
        vectors, snapshot = self._plain
        return snapshot.without(query.row, vectors)

    def digest(self, asked: dict[str, Any]) -> str:
        """Of all that decides what comes of a query; the noise of experiments is always the same."""
        retriever = self.retriever
        decides = {
            "code": CODE.hex() + code_digest(evaluation).hex(),
            "model": retriever.smoothed.digest,
            "sigma": retriever.sigma,
            "gallery": self._whole.digest,
            "queries": [(query.id, query.label, query.row) for query in self.queries],
            "asked": asked,
            "max_comparisons": retriever.settings.max_comparisons,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _whole(self) -> Snapshot:
        return self.retriever.gallery.snapshot()

    @cached_property
    def _plain(self) -> tuple[list[NDArray[np.float32]], Snapshot]:
        """Vectors before blending; and a snapshot that knows no history, so that figures repeat."""
        items, vectors = self.retriever.gallery.plain()
        weight = self.retriever.settings.label_weight
        return vectors, Snapshot(0, items, vectors, self.retriever.model.dimension, weight)


@contextmanager
def laid_out(
    material: Material, settings: Settings, place: Path, progress: Progress = silent
) -> Iterator[Laid]:
    """The `material` in the folder `place`; what is there already is not embedded again.

    Raises `GalleryEmpty`, `ImportFailure`, `DataSetError`.
    """
    if material.gallery is None:
        with own_gallery(settings, place, lambda ids: progress(ids, "embedding")) as retriever:
            yield Laid(retriever, _queries(material, retriever))
        return
    if material.root is None:
        found = sources(material.gallery)
    else:
        found = published(material.gallery, material.root, "gallery")
    with opened(settings, place) as retriever:
        added = retriever.intake.add(
            found, replace=True, prune=True, progress=lambda items: progress(items, "embedding")
        )
        if added.refused:
            first = f"{added.refused[0].place}: {added.refused[0].reason}"
            raise ImportFailure(
                f"{material.gallery}: {len(added.refused)} refused; mend or remove what is,"
                f" so that the figures are those of all of it; the first: {first}"
            )
        yield Laid(retriever, _queries(material, retriever), list(added.warnings))


@contextmanager
def folder_or_temporary(folder: Path | None) -> Iterator[Path]:
    """The `folder`, made if it is not there; or one that is gone afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _queries(material: Material, retriever: Retriever) -> list[QueryImage]:
    name, count = material.gallery, material.queries
    if material.asking is not None:
        return of_source(material.asking, count)
    if name is None:
        return of_gallery(retriever.gallery, count)
    if material.root is not None:
        return left_out(of_published(name, material.root, count), retriever.gallery)
    if is_data_set(name):
        return left_out(of_source(name, count), retriever.gallery)
    return of_gallery(retriever.gallery, count)
