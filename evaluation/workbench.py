"""A retriever on a data set's own gallery, in a folder that lasts as long as the experiment."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.datasets import DATASETS, ImageSet
from service.gallery.sources import sources
from service.retriever import Retriever
from service.settings import Settings

# The noise of an experiment is fixed, so that its figures can be reproduced; a service keeps its own secret.
SECRET = "retrievalguard evaluation"  # noqa: S105


@contextmanager
def workbench(data: str, settings: Settings) -> Iterator[Retriever]:
    """A retriever with the model of `settings`, the gallery part of `data`, and the noise of experiments."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"data_dir": Path(folder), "secret": SECRET, "redis_url": None}
        retriever = Retriever.open(Settings.model_validate(settings.model_dump() | fixed))
        try:
            retriever.intake.add(sources(data))
            yield retriever
        finally:
            retriever.close()


def held_out(data: str, count: int) -> ImageSet:
    """`count` queries of `data`, spread evenly over those that were never in a gallery (or all of them)."""
    queries = DATASETS[data]("query")
    rows = np.unique(np.linspace(0, len(queries) - 1, min(count, len(queries))).round().astype(int))
    return ImageSet(
        queries.pixels[rows], tuple(queries.labels[r] for r in rows), tuple(queries.ids[r] for r in rows)
    )
