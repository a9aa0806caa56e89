"""Certification against the forward passes that it certifies: `make bench BENCH=certification`.

Compared in turns, in one process: choosing and certifying 10,000 samples of a held-out digit against all
rivals, on one core, and as many bare forward passes in the variant that is served, on every core. The gallery
is enlarged by the training digits, so that a label has over 1,000 rivals.
"""

import json
import statistics
import time

from bench.results import save
from bench.throughput import Bare
from certify import Method
from evaluation.workbench import held_out, workbench
from index import Item
from models.datasets import digits
from service.images import png
from service.process import own_process
from service.settings import Settings

SAMPLES, QUERIES = 10_000, 31
METHODS: tuple[Method, ...] = ("paper", "bisector", "mean", "cdf")


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    own_process()
    images = held_out("digits", QUERIES)
    extra = digits("train")
    with workbench("digits", Settings.from_environment()) as retriever:
        retriever.gallery.add(
            [
                retriever.intake.prepare(Item(id_, label, {}), png(pixels))
                for id_, label, pixels in zip(extra.ids, extra.labels, extra.pixels, strict=True)
            ]
        )
        snapshot = retriever.gallery.snapshot()
        network = Bare(retriever.smoothed)
        bare: list[float] = []
        spent: dict[str, list[float]] = {method: [] for method in METHODS}
        searching: list[float] = []
        for image in images.tensors:
            drawn = retriever.smoothed.first(image, SAMPLES)
            bare.append(SAMPLES / network.rate(8 * SAMPLES))
            for method in METHODS:
                time.sleep(0.05)
                contest = retriever.contest(
                    snapshot, alpha=0.001, samples=SAMPLES, horizon=SAMPLES, method=method
                )
                started = time.perf_counter()
                found = contest.outcome(drawn)
                spent[method].append(time.perf_counter() - started - found.searching)
            searching.append(found.searching)
    passed = statistics.median(bare)
    report = {
        "samples": SAMPLES,
        "gallery": len(snapshot),
        "queries": QUERIES,
        "variant": retriever.smoothed.calibration.variant,
        "workers": retriever.smoothed.engine.workers,
        "bare_ms": round(1000 * passed, 2),
        "search_ms": round(1000 * statistics.median(searching), 2),
        "certify_ms": {m: round(1000 * statistics.median(times), 2) for m, times in spent.items()},
        "certify_over_bare": {m: round(statistics.median(times) / passed, 3) for m, times in spent.items()},
    }
    print(f"median of {QUERIES} queries, {SAMPLES} samples, all rivals of {len(snapshot)} items")
    print(f"bare passes: {report['bare_ms']} ms; certification: {report['certify_ms']} ms")
    save("certification", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
