"""How well a model fits one's own gallery: each item is the query of a gallery that lacks it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.certified_recall import Conditions, QueryResult, ask, report
from evaluation.workbench import own_gallery, spread
from index import Item, Snapshot
from service.errors import GalleryEmpty, Problem
from service.settings import Settings

# Below this share of right answers a model is said not to fit.
POOR = 0.5


def leave_one_out(
    settings: Settings,
    asked: Conditions,
    *,
    queries: int,
    embedding: Callable[[Iterable[str]], Iterable[str]] = lambda ids: ids,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> dict[str, Any]:
    """The report of `certified_recall` on `queries` items of the gallery in the data folder, spread evenly.

    Each is answered by the gallery without it. Its samples are a query's, so they do not depend on any
    gallery vector. Further members: `certified_wrong`, how many answers of each row were wrong and certified
    to a radius above 0; `alone`, how many queries are the only item of their label and cannot be answered
    right; `refused`, ids that cannot be decoded any more, each with the reason; `verdict`, in words;
    `losses`, as the service tells them, or None. Raises `GalleryEmpty` when there are not two items.
    """
    with own_gallery(settings, embedding) as retriever:
        items, vectors = retriever.gallery.plain()
        if len(items) < 2:
            raise GalleryEmpty("leaving one out takes two items: `retrievalguard gallery add FOLDER`")
        of_label = Counter(item.label for item in items)
        results: list[QueryResult] = []
        refused: dict[str, str] = {}
        alone = 0
        for row in progress(spread(len(items), queries).tolist()):
            item = items[row]
            try:
                image = retriever.decode(retriever.gallery.store.image(item.id)[0])
            except Problem as problem:
                refused[item.id] = problem.detail
                continue
            snapshot = without(items, vectors, row, retriever.model.dimension, settings.label_weight)
            results.append(ask(retriever, snapshot, image, item.id, item.label, asked))
            alone += of_label[item.label] == 1
        if not results:
            raise GalleryEmpty(f"no item could be decoded; the first: {next(iter(refused.items()))}")
        found = report("gallery", retriever, len(items) - 1, results, asked)
        return found | {
            "certified_wrong": {
                row: sum(r.radii[row] > 0 and not r.correct[row] for r in results) for row in asked.methods
            },
            "alone": alone,
            "refused": refused,
            "verdict": verdict(found["recall_at_1"]["smoothed"]),
            "losses": retriever.losses["query"].statement,
        }


def without(
    items: Sequence[Item], vectors: Sequence[NDArray[np.float32]], row: int, dimension: int, weight: float
) -> Snapshot:
    """The gallery that one would have without `row`: blended anew, as it is part of its label's mean."""
    kept = [*range(row), *range(row + 1, len(items))]
    return Snapshot(0, [items[i] for i in kept], [vectors[i] for i in kept], dimension, weight)


def verdict(recall: float) -> str:
    """What a share of right answers says of the model."""
    if recall >= POOR:
        return f"the right label comes first for {recall:.0%} of the items"
    return (
        f"the model does not fit these images: the right label comes first for {recall:.0%} of the items"
        " only, and a certificate says that an answer is stable, not that it is right. Train a model on such"
        " images (`retrievalguard train`)"
    )
