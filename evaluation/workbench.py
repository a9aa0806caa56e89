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
def opened(
    settings: Settings,
    folder: Path,
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids,
) -> Iterator[Retriever]:
    """A retriever with the model of `settings`, the gallery in `folder`, and the noise of experiments.

    `progress` wraps the ids of items that have to be embedded first.
    """
    _copy_calibration(settings, folder)
    fixed = {"data_dir": folder, "secret": SECRET, "redis_url": None, "database_url": None}
    retriever = Retriever.open(Settings.model_validate(settings.model_dump() | fixed), progress=progress)
    try:
        yield retriever
    finally:
        retriever.close()


@contextmanager
def empty_workbench(settings: Settings) -> Iterator[Retriever]:
    """The same with an empty gallery, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, opened(settings, Path(folder)) as retriever:
        yield retriever


@contextmanager
def workbench(data: str, settings: Settings) -> Iterator[Retriever]:
    """The same with the gallery part of a data set."""
    with empty_workbench(settings) as retriever:
        retriever.intake.add(sources(data))
        yield retriever


@contextmanager
def own_gallery(
    settings: Settings,
    folder: Path,
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids,
) -> Iterator[Retriever]:
    """The same on a copy of the gallery in the data folder, which a server may be using.

    The copy is made in `folder`; one that is there is taken. Raises `GalleryEmpty` if there is no gallery.
    """
    if settings.database_url is not None:
        raise GalleryEmpty(
            "an experiment takes a gallery in a file: `retrievalguard gallery export`, and `gallery import`"
            " with another RETRIEVALGUARD_DATA_DIR and without DATABASE_URL"
        )
    gallery = settings.data_dir / GALLERY
    if not gallery.is_file():
        raise GalleryEmpty(f"there is no gallery in {settings.data_dir}: `retrievalguard gallery add FOLDER`")
    if not (folder / GALLERY).exists():
        draft = folder / "copying"
        draft.unlink(missing_ok=True)
        _copy(gallery.resolve(), draft)
        draft.rename(folder / GALLERY)
    with opened(settings, folder, progress) as retriever:
        yield retriever


def _copy_calibration(settings: Settings, folder: Path) -> None:
    """Let the network run as it did here before, or else as in the service."""
    calibration = settings.data_dir / CALIBRATION
    if calibration.is_file() and not (folder / CALIBRATION).exists():
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
