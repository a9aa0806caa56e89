"""Certification against the forward passes that it certifies: `make bench BENCH=certification`.

Compared in turns, in one process: choosing and certifying 10,000 samples of a held-out digit against 1,000
rivals, on one core, and as many bare forward passes in the variant that is served, on every core. The gallery
is enlarged by the training digits, so that a label has over 1,000 rivals.
"""

import json
import statistics
import time

from bench.results import save
from bench.throughput import Bare
from certify import Method, Terms
from evaluation.workbench import held_out, workbench
from index import Item
from models import digits
from models.smoothing import chunks
from service.contest import Contest
from service.gallery_import import png
from service.settings import Settings

SAMPLES, RIVALS, QUERIES = 10_000, 1_000, 31
METHODS: tuple[Method, ...] = ("paper", "bisector", "mean", "cdf")


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    images = held_out("digits", QUERIES)
    extra = digits("train")
    with workbench("digits", Settings.from_environment()) as retriever:
        retriever.gallery.add(
            [
                retriever.prepare(Item(id_, label, {}), png(pixels))
                for id_, label, pixels in zip(extra.ids, extra.labels, extra.pixels, strict=True)
            ]
        )
        snapshot = retriever.gallery.snapshot()
        network = Bare(retriever.smoothed)
        bare: list[float] = []
        spent: dict[str, list[float]] = {method: [] for method in METHODS}
        searching: list[float] = []
        for image in images.tensors:
            drawn = retriever.smoothed.sample(image, 0, chunks(SAMPLES))[:SAMPLES]
            bare.append(SAMPLES / network.rate(8 * SAMPLES))
            for method in METHODS:
                time.sleep(0.05)
                terms = Terms(
                    retriever.sigma, 0.001, method=method, horizon=SAMPLES, blur=retriever.smoothed.blur
                )
                contest = Contest(snapshot, retriever.space, "embedding", terms, top_k=1, max_rivals=RIVALS)
                started = time.perf_counter()
                found = contest.outcome(drawn)
                spent[method].append(time.perf_counter() - started - found.searching)
            searching.append(found.searching)
    passed = statistics.median(bare)
    report = {
        "samples": SAMPLES,
        "rivals": RIVALS,
        "gallery": len(snapshot),
        "queries": QUERIES,
        "variant": retriever.smoothed.calibration.variant,
        "workers": retriever.smoothed.engine.workers,
        "bare_ms": round(1000 * passed, 2),
        "search_ms": round(1000 * statistics.median(searching), 2),
        "certify_ms": {m: round(1000 * statistics.median(times), 2) for m, times in spent.items()},
        "certify_over_bare": {m: round(statistics.median(times) / passed, 3) for m, times in spent.items()},
    }
    print(f"median of {QUERIES} queries, {SAMPLES} samples, {RIVALS} of {len(snapshot)} items as rivals")
    print(f"bare passes: {report['bare_ms']} ms; certification: {report['certify_ms']} ms")
    save("certification", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
