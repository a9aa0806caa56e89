"""The engine against the bare network, research code and itself: `make bench BENCH=engine`.

Throughput, in turns: the engine with 1, 8 and 64 queries in flight; the bare network in the variant that is
served, on every core, without noise, queue or caller; eager float32 at its best batch; and the loop of
research code. Then the questions: how many samples the default and the yes/no question take on all held-out
digits, and what share of the radius from 10,000 samples they find. Then latency: a cache hit against a
trivial route, over HTTP; and short queries among long ones against alone.
"""

import json
import statistics
from pathlib import Path

import numpy as np

from bench.latency import hit_over_route, short_among_long
from bench.results import RESULTS, save
from bench.throughput import BATCHES, Bare, engine, plain
from evaluation.workbench import held_out, workbench
from service.process import own_process
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings

SAMPLES, ROUNDS, IN_FLIGHT = 100_000, 9, (1, 8, 64)
QUERIES, REFERENCE, TARGET = 296, 10_000, 0.1


def throughput(retriever: Retriever) -> dict[str, object]:
    """Ratios of one round, their median over the rounds; and samples a second."""
    smoothed = retriever.smoothed
    rates: dict[str, list[float]] = {}
    with plain() as baseline:
        tried = {batch: max(baseline.eager(batch, SAMPLES // 2) for _ in range(3)) for batch in BATCHES}
        best = max(tried, key=lambda batch: tried[batch])
        bare = Bare(smoothed)
        for _ in range(ROUNDS):
            found = {f"engine at {count}": engine(smoothed, count, SAMPLES) for count in IN_FLIGHT}
            found |= {"bare": bare.rate(SAMPLES)}
            found |= {"eager": baseline.eager(best, SAMPLES), "research": baseline.research(SAMPLES // 4)}
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)

    def over(one: str, other: str) -> float:
        return round(float(np.median(np.divide(rates[one], rates[other]))), 3)

    return {
        "variant": smoothed.calibration.variant,
        "batch": smoothed.calibration.batch * smoothed.chunk,
        "workers": smoothed.engine.workers,
        "eager_batch": best,
        "samples_per_second": {name: round(statistics.median(found)) for name, found in rates.items()},
        "engine_over_bare": {str(count): over(f"engine at {count}", "bare") for count in IN_FLIGHT},
        "bare_over_eager": over("bare", "eager"),
        "engine_over_eager": over("engine at 8", "eager"),
        "engine_over_research": over("engine at 1", "research"),
    }


def questions(retriever: Retriever) -> dict[str, float]:
    """Samples and radii of the default and the yes/no question. A wrong answer counts with radius 0."""
    images, snapshot = held_out("digits", QUERIES), retriever.snapshot()
    radii: dict[str, list[float]] = {"default": [], "reference": []}
    samples: dict[str, list[int]] = {"default": [], "yes_no": []}
    for image, label in zip(images.tensors, images.labels, strict=True):
        default = retriever.retrieve(image)
        radii["default"].append(default.certificate.radius * (default.neighbor.label == label))
        samples["default"].append(default.certificate.samples)
        asked = retriever.retrieve(image, RetrieveOptions(target_radius=TARGET))
        samples["yes_no"].append(asked.certificate.samples)
        drawn = retriever.smoothed.first(image, REFERENCE)
        contest = retriever.contest(
            snapshot, alpha=retriever.settings.alpha, samples=REFERENCE, horizon=REFERENCE
        )
        found = contest.outcome(drawn)
        right = snapshot.items[found.neighbors.rows[0]].label == label
        radii["reference"].append(found.certificate.radius * right)
    default_radius, reference = float(np.mean(radii["default"])), float(np.mean(radii["reference"]))
    return {
        "queries": len(images),
        "mean_radius_default": round(default_radius, 4),
        "mean_radius_reference": round(reference, 4),
        "mean_samples_default": round(float(np.mean(samples["default"])), 1),
        "radius_share_default": round(default_radius / reference, 3),
        "mean_samples_yes_no": round(float(np.mean(samples["yes_no"])), 1),
    }


def plot(report: dict[str, object], path: Path) -> None:
    """Samples a second, as bars."""
    from matplotlib.figure import Figure

    rates = report["samples_per_second"]
    assert isinstance(rates, dict)
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    names = list(rates)[::-1]
    bars = axes.barh(names, [rates[name] for name in names], color="#4477aa")
    axes.bar_label(bars, [f"{rates[name]:,}" for name in names], padding=3)
    axes.set_xlabel(f"samples a second, {report['workers']} cores, {report['variant']}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print what was compared and, as the last line, its JSON."""
    own_process()
    # Room for all the long queries at once.
    settings = Settings.from_environment().model_copy(update={"max_backlog_seconds": 86_400})
    with workbench("digits", settings) as retriever:
        print(f"throughput: {ROUNDS} rounds of {SAMPLES} samples each, in turns")
        report = throughput(retriever)
        print(f"questions: {QUERIES} held-out digits, the reference from {REFERENCE} samples each")
        report |= questions(retriever)
        report |= short_among_long(retriever)
    report |= hit_over_route()
    report["rounds"] = ROUNDS
    save("engine", report)
    plot(report, RESULTS / "engine.png")
    for name, value in report.items():
        print(f"{name:24} {value}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
