"""How many samples a gallery vector needs: `make bench BENCH=gallery_samples`.

Compared on the same samples of the same queries, emoji by a designer whom training never saw: galleries whose
vectors are means of the first 8, 16, ... samples of each item.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.results import save
from certify import Rule
from evaluation.certified_recall import RADII
from evaluation.workbench import empty_workbench, spread
from index import Item, Snapshot
from models import SmoothedModel
from models.datasets import ImageSet, emoji
from service.process import own_process
from service.settings import Settings

MODEL = "emoji-small"
COUNTS = (8, 16, 32, 128, 1_024)
SAMPLES, ALPHA = 2_048, 0.001
RULES: dict[str, Rule] = {"cdf": "embedding", "vote": "vote"}


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=60)
    labels = parser.parse_args().labels
    own_process()
    queries, gallery = _pictures(labels)
    items = [Item(id_, label) for id_, label in zip(gallery.ids, gallery.labels, strict=True)]
    settings = Settings.from_environment().model_copy(update={"model": MODEL})
    radii: dict[tuple[int, str], list[float]] = defaultdict(list)  # -1: answered wrongly
    with empty_workbench(settings) as retriever:
        snapshots = {
            count: Snapshot(0, items, vectors, retriever.model.dimension, settings.label_weight)
            for count, vectors in _means(retriever.smoothed, gallery).items()
        }
        for image, label in track(list(zip(queries.tensors, queries.labels, strict=True)), "certifying"):
            samples = retriever.smoothed.first(image, SAMPLES)
            for count, snapshot in snapshots.items():
                for row, rule in RULES.items():
                    contest = retriever.contest(
                        snapshot, alpha=ALPHA, samples=SAMPLES, horizon=SAMPLES, rule=rule
                    )
                    found = contest.outcome(samples)
                    right = snapshot.items[int(found.neighbors.rows[0])].label == label
                    radii[count, row].append(found.certificate.label_radius if right else -1.0)
    report = {
        "model": MODEL,
        "queries": len(queries),
        "labels": labels,
        "items": len(items),
        "samples": SAMPLES,
        "alpha": ALPHA,
        "gallery_samples": {
            str(count): {row: _summary(radii[count, row]) for row in RULES} for count in COUNTS
        },
    }
    print(f"{len(queries)} queries, {len(items)} items, {SAMPLES} samples a query, alpha {ALPHA:g}")
    for count in COUNTS:
        for row in RULES:
            print(f"{count:5} samples an item, {row:4}: {_summary(radii[count, row])}")
    save("gallery_samples", report)
    print(json.dumps(report))


def _pictures(labels: int) -> tuple[ImageSet, ImageSet]:
    """Queries of so many labels, one each, and all gallery items of these labels."""
    queries = emoji("query")
    queries = queries.take(spread(len(queries), labels))
    gallery, asked = emoji("gallery"), set(queries.labels)
    return queries, gallery.take([row for row, label in enumerate(gallery.labels) if label in asked])


def _means(smoothed: SmoothedModel, images: ImageSet) -> dict[int, Sequence[NDArray[np.float32]]]:
    """For each of COUNTS the vectors of `images`; all are means of one row of samples."""
    means: dict[int, list[NDArray[np.float32]]] = {count: [] for count in COUNTS}
    for image in track(images.tensors, "embedding"):
        samples = smoothed.sample(image, 0, smoothed.chunks(max(COUNTS)), "gallery")
        for count, vectors in means.items():
            vectors.append(samples[:count].mean(axis=0, dtype=np.float64).astype(np.float32))
    return dict(means)


def _summary(radii: Sequence[float]) -> dict[str, Any]:
    found = np.array(radii)
    return {
        "recall_at_1": round(float((found >= 0).mean()), 4),
        "mean_radius": round(float(found.clip(0).mean()), 4),
        "certified_recall": {str(radius): round(float((found >= radius).mean()), 4) for radius in RADII},
    }


if __name__ == "__main__":
    main()
