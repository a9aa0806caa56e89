"""One process beside a cluster: it sees the versions of the gallery that they share, and answers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.cluster.asking import Answer, picture, told
from index import Item, ItemGone, NewItem, Snapshot
from models import Stop
from models.datasets import digits
from service.images import png
from service.retrieval.answering import Question
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import checked
from service.retriever import Retriever
from service.settings import Settings

# Digits that are answers, and items so far from all queries that they never are: with them the gallery is
# larger than a segment, so that each of two shards has one.
NEAR, FAR, OF_A_LABEL = 600, 66_000, 10
LOT = 6_000
LOOK_SECONDS = 0.02


class Witness:
    """A retriever of its own over the gallery of `settings`, with all of it in this process."""

    def __init__(self, settings: Settings) -> None:
        self.retriever = Retriever.open(settings)
        self._seen = dict[int, Snapshot]()

    def fill(self) -> int:
        """Put into the gallery what is searched; how many items."""
        gallery, source = self.retriever.gallery, digits("gallery")
        near = [
            NewItem(
                Item(f"digits-{number:04}", str(label), {}), png(pixels), "image/png",
                self.retriever.vectors.of(pixels.astype(np.float32) / 255),
            )
            for number, (pixels, label) in enumerate(zip(source.pixels[:NEAR], source.labels, strict=False))
        ]  # fmt: skip
        gallery.add(near)
        rng = np.random.default_rng(0)
        for start in range(0, FAR, LOT):
            vectors = rng.standard_normal((LOT, self.retriever.model.dimension))
            vectors *= 0.95 / np.linalg.norm(vectors, axis=1, keepdims=True)
            gallery.add(
                [
                    NewItem(
                        Item(f"far-{number:05}", f"far {number // OF_A_LABEL}", {}), b"", "image/png", vector
                    )
                    for number, vector in enumerate(vectors.astype(np.float32), start)
                ]
            )
        return len(self.retriever.snapshot())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every version of the gallery that there is meanwhile is kept, but those that last milliseconds."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOK_SECONDS):
                snapshot = self.retriever.snapshot()
                self._seen.setdefault(snapshot.version, snapshot)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def answer(self, seed: int, version: int, options: dict[str, Any]) -> Answer | None:
        """What is answered to picture number `seed` by that version, as `told`.

        None if that was not seen, or an item that it would name is gone.
        """
        snapshot = self._seen.get(version)
        if snapshot is None:
            return None
        retriever = self.retriever
        query = checked(picture(seed), RetrieveOptions(**options), retriever.settings, retriever.smoothed)
        question = Question(query, snapshot, Stop(), None, time.perf_counter(), 0.0, 0.0)
        try:
            found = retriever._answering.answer(question)
        except ItemGone:
            return None
        return told(found.model_dump(mode="json"))
