"""Certificates in galleries of many rivals: `make bench BENCH=rivals`, or `python -m bench.rivals 100000`.

Compared in turns, in one process, on one core: certifying 2,048 samples of held-out digits in galleries of up
to so many items, in clusters and, for the first `ALL` queries, with all rivals one by one; and as many bare
passes of the demo model. The galleries are the 600 digits and artificial labels between them: the centre of
each is a mixture of four digits, its ten items lie around it. Last, the same 10,000 items among others that
are too far to bind. Times are those of the processor, which others may be using: what a core takes by itself.
"""

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.results import save
from bench.throughput import Bare
from certify import Terms, Vectors
from evaluation.workbench import held_out, workbench
from index import Item, Snapshot
from service.process import own_process
from service.retrieval.contest import Contest, vectors_of
from service.retriever import Retriever
from service.settings import Settings

SAMPLES, QUERIES, OF_A_LABEL = 2_048, 24, 10
# Queries whose rivals are all listed, in a gallery of up to so many items: at a million each takes a minute.
ALL = {100_000: QUERIES, 1_000_000: 3}
SIGMAS = (0.25, 0.5)
ALPHA = 0.001

Array = NDArray[np.float64]


def unit(rows: Array) -> Array:
    """Rows of length 1."""
    scaled: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def enlarged(retriever: Retriever, size: int, far: int = 0) -> Snapshot:
    """The demo gallery and artificial labels, `size` items in all, and `far` others that nothing is near."""
    rng = np.random.default_rng(0)
    items, vectors = retriever.gallery.plain()
    known = np.stack(vectors).astype(np.float64)
    labels = (size - len(items)) // OF_A_LABEL
    centres: list[Array] = [np.zeros((0, known.shape[1]))]
    while sum(map(len, centres)) < labels:
        weights = rng.dirichlet([0.6] * 4, size=labels)
        mixed = (known[rng.integers(len(known), size=(labels, 4))] * weights[:, :, None]).sum(axis=1)
        mixed += 0.25 / np.sqrt(known.shape[1]) * rng.standard_normal(mixed.shape)
        centres.append(unit(np.maximum(mixed[weights.max(axis=1) < 0.6], 0)))
    around = np.repeat(np.concatenate(centres)[:labels], OF_A_LABEL, axis=0)
    around += 0.3 / np.sqrt(known.shape[1]) * rng.standard_normal(around.shape) * (around > 0)
    lengths = rng.choice(np.linalg.norm(known, axis=1), len(around))[:, None]
    away = -unit(np.abs(rng.standard_normal((far, known.shape[1])))) * 0.5
    names = [f"label {row // OF_A_LABEL}" for row in range(len(around))] + [
        f"far {row // 100}" for row in range(far)
    ]
    found = np.concatenate([unit(np.maximum(around, 0)) * lengths, away]).astype(np.float32)
    made = [Item(f"made-{row}", name) for row, name in enumerate(names)]
    dimension = known.shape[1]
    return Snapshot(1, [*items, *made], [*vectors, *found], dimension, retriever.settings.label_weight)


def certified(
    retriever: Retriever, snapshot: Snapshot, vectors: Vectors, samples: NDArray[np.float32]
) -> tuple[float, float]:
    """The label radius, and the seconds that it took with the search."""
    terms = Terms(retriever.sigma, ALPHA)
    started = time.process_time()
    found = Contest(snapshot, vectors, retriever.space, "embedding", terms, top_k=1).outcome(samples)
    return found.certificate.label_radius, time.process_time() - started


def bare_seconds(bare: Bare) -> float:
    """The seconds that as many bare passes take."""
    work, clock = time.process_time(), time.perf_counter()
    rate = bare.rate(2 * SAMPLES)
    busy = (time.process_time() - work) / (time.perf_counter() - clock)
    return SAMPLES / rate * busy


def compare(
    retriever: Retriever, drawn: list[NDArray[np.float32]], size: int, far: int = 0
) -> dict[str, Any]:
    """One row of the report."""
    started = time.process_time()
    snapshot = enlarged(retriever, size, far)
    building = time.process_time() - started
    bare = Bare(retriever.smoothed, workers=1)
    arranged = [part.segment.columns.vectors for part in snapshot.parts]
    ways = {"clusters": vectors_of(snapshot), "all": Vectors.flat(np.concatenate(arranged))}
    radii: dict[str, list[float]] = {way: [] for way in ways}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    passes = []
    listed = next(queries for most, queries in ALL.items() if len(snapshot) <= most)
    for number, samples in enumerate(drawn):
        passes.append(bare_seconds(bare))
        for way, vectors in ways.items():
            if way == "all" and number >= listed:
                continue
            radius, seconds = certified(retriever, snapshot, vectors, samples)
            radii[way].append(radius)
            spent[way].append(seconds)
    row: dict[str, Any] = {
        "sigma": retriever.sigma,
        "items": len(snapshot),
        "far": far,
        "clusters": len(ways["clusters"].centres),
        "building_s": round(building, 2),
        "bare_ms": round(1000 * statistics.median(passes), 1),
        "certify_ms": {way: round(1000 * statistics.median(each), 1) for way, each in spent.items()},
        "mean_radius": {way: round(statistics.mean(each), 4) for way, each in radii.items()},
    }
    row["certify_over_bare"] = round(row["certify_ms"]["clusters"] / row["bare_ms"], 2)
    both = list(zip(*radii.values(), strict=False))
    row["listed_queries"] = len(both)
    row["share"] = round(sum(ours for ours, _ in both) / sum(theirs for _, theirs in both), 4)
    row["worst_share"] = round(min(ours / theirs for ours, theirs in both if theirs > 0), 4)
    print("  ".join(f"{name}: {value}" for name, value in row.items()), flush=True)
    return row


def main() -> None:
    """Print a row for each gallery and, as the last line, all of them as JSON."""
    own_process()
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    images = held_out("digits", QUERIES)
    rows: list[dict[str, Any]] = []
    for sigma in SIGMAS:
        settings = Settings.from_environment().model_copy(update={"sigma": sigma})
        with workbench("digits", settings) as retriever, threadpool_limits(1):
            drawn = [retriever.smoothed.first(image, SAMPLES).copy() for image in images.tensors]
            certified(retriever, small := retriever.gallery.snapshot(), vectors_of(small), drawn[0])
            rows += [
                compare(retriever, drawn, size) for size in (600, 10_000, 100_000, 1_000_000) if size <= most
            ]
            rows.append(compare(retriever, drawn, 10_000, far=most - 10_000))
    report = {"samples": SAMPLES, "queries": QUERIES, "alpha": ALPHA, "rows": rows}
    save("rivals", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
