"""One cold query against the bare network: `make bench BENCH=query`.

Compared in turns, in one process: a query with default options, image file to answer, with an empty cache;
and as many bare forward passes as it took samples, in the variant that is served, on every core.
"""

import json
import statistics
import time

from bench.results import save
from bench.throughput import Bare
from evaluation.workbench import workbench
from models.datasets import digits
from service.images import png
from service.process import own_process
from service.retrieval.answer import RetrieveResponse
from service.settings import Settings

ROUNDS = 61


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    own_process()
    files = [png(pixels) for pixels in digits("query").pixels]
    with workbench("digits", Settings.from_environment()) as retriever:
        bare = Bare(retriever.smoothed)
        for file in files[-3:]:
            retriever.retrieve(file)
        answers: list[RetrieveResponse] = []
        times, passes = [], []
        for file in files[:ROUNDS]:
            time.sleep(0.05)
            started = time.perf_counter()
            answers.append(retriever.retrieve(file))
            times.append(time.perf_counter() - started)
            samples = answers[-1].certificate.samples
            passes.append(samples / bare.rate(16 * samples))
        variant = retriever.smoothed.calibration.variant
    drawn = [answer.certificate.samples for answer in answers]
    report = {
        "rounds": ROUNDS,
        "variant": variant,
        "workers": retriever.smoothed.engine.workers,
        "mean_samples": round(statistics.mean(drawn), 1),
        "query_ms": round(1000 * statistics.median(times), 2),
        "bare_ms": round(1000 * statistics.median(passes), 2),
        "query_over_bare": round(
            statistics.median(query / passed for query, passed in zip(times, passes, strict=True)), 3
        ),
        "parts_ms": {
            part: round(statistics.median(getattr(answer.timing_ms, part) for answer in answers), 2)
            for part in ("decode", "queue", "sample", "search", "certify")
        },
    }
    print(f"median of {ROUNDS} rounds, {report['mean_samples']} samples on average, {variant}")
    print(f"bare passes: {report['bare_ms']:8.2f} ms")
    print(f"cold query : {report['query_ms']:8.2f} ms  {report['parts_ms']}")
    save("query", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
