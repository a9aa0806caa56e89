"""A retriever in a folder that lasts as long as the experiment: on a data set, or a copy of a gallery."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets import DATASETS, ImageSet
from service.errors import GalleryEmpty
from service.gallery.sources import sources
from service.retriever import Retriever
from service.settings import Settings

# The noise of an experiment is fixed, so that its figures can be reproduced; a service keeps its own secret.
SECRET = "retrievalguard evaluation"  # noqa: S105
# The files of a data folder that an experiment on its gallery needs.
GALLERY, CALIBRATION = "gallery.sqlite3", "calibration.json"


@contextmanager
def workbench(data: str, settings: Settings) -> Iterator[Retriever]:
    """A retriever with the model of `settings`, the gallery part of `data`, and the noise of experiments."""
    with tempfile.TemporaryDirectory() as folder:
        _copy_calibration(settings, Path(folder))
        fixed = {"data_dir": Path(folder), "secret": SECRET, "redis_url": None}
        retriever = Retriever.open(Settings.model_validate(settings.model_dump() | fixed))
        try:
            retriever.intake.add(sources(data))
            yield retriever
        finally:
            retriever.close()


@contextmanager
def own_gallery(
    settings: Settings, progress: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids
) -> Iterator[Retriever]:
    """A retriever on a copy of the gallery in the data folder, which a server may be using.

    `progress` wraps the ids of items that have to be embedded first. Raises `GalleryEmpty` if there is none.
    """
    gallery = settings.data_dir / GALLERY
    if not gallery.is_file():
        raise GalleryEmpty(f"there is no gallery in {settings.data_dir}: `retrievalguard gallery add FOLDER`")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _copy(gallery.resolve(), copy / GALLERY)
        _copy_calibration(settings, copy)
        fixed = {"data_dir": copy, "secret": SECRET, "redis_url": None}
        retriever = Retriever.open(Settings.model_validate(settings.model_dump() | fixed), progress=progress)
        try:
            yield retriever
        finally:
            retriever.close()


def _copy_calibration(settings: Settings, folder: Path) -> None:
    """Let the network run as it does in the service, where there is one; else it is measured anew."""
    calibration = settings.data_dir / CALIBRATION
    if calibration.is_file():
        shutil.copy(calibration, folder)


def _copy(gallery: Path, target: Path) -> None:
    """A consistent copy of a SQLite file; readers and writers go on beside it.

    A reader of a file in use shares its log. To a file that nobody uses SQLite would add an empty one, unless
    it is told that the file does not change: true, if there is no log afterwards either.
    """
    used = Path(f"{gallery}-wal")
    if not used.exists():
        before = gallery.stat()
        _backup(f"{gallery.as_uri()}?immutable=1", target)
        after = gallery.stat()
        if not used.exists() and (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return
        target.unlink()
    _backup(f"{gallery.as_uri()}?mode=ro", target)


def _backup(uri: str, target: Path) -> None:
    with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def held_out(data: str, count: int) -> ImageSet:
    """`count` queries of `data`, spread evenly over those that were never in a gallery (or all of them)."""
    queries = DATASETS[data]("query")
    return queries.take(spread(len(queries), count))


def spread(size: int, count: int) -> NDArray[np.int64]:
    """`count` rows of `size`, evenly, or all of them."""
    return np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(np.int64))
