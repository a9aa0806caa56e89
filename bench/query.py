"""One cold query against the bare network: `make bench BENCH=query`.

Compared in turns, in one process: a query at the default number of samples, image file to answer with an
empty cache; and as many forward passes of the same network on ready inputs, at its best batch size.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from bench.results import save
from evaluation.workbench import workbench
from models import EmbeddingModel, digits
from service.gallery_import import png
from service.settings import Settings

BATCHES = (64, 128, 256, 512, 1024)
ROUNDS = 41


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, once the threads of what ran before have stopped spinning for more work."""
    time.sleep(0.05)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passes(model: EmbeddingModel, batch: int, count: int) -> float:
    """Seconds for `count` bare forward passes in batches of `batch`; a broken batch counts by its share."""
    inputs = np.random.default_rng(0).standard_normal((batch, *model.input_shape), dtype=np.float32)
    batches = -(-count // batch)
    return seconds(lambda: [model(inputs) for _ in range(batches)]) * count / (batches * batch)


def main() -> None:
    """Print the comparison and, as the last line, its JSON."""
    queries = digits("query")
    files = [png(pixels) for pixels in queries.pixels]
    with workbench("digits", Settings.from_environment()) as retriever:
        count = retriever.settings.samples
        for file in files[-3:]:
            retriever.retrieve(file)
        trials = {
            batch: statistics.median(passes(retriever.model, batch, count) for _ in range(9))
            for batch in BATCHES
        }
        best = min(trials, key=lambda batch: trials[batch])
        answers, times, bare = [], [], []
        for file in files[:ROUNDS]:
            bare.append(passes(retriever.model, best, count))
            times.append(seconds(lambda file=file: answers.append(retriever.retrieve(file))))  # type: ignore[misc]
    report = {
        "samples": count,
        "rounds": ROUNDS,
        "threads": torch.get_num_threads(),
        "query_ms": round(1000 * statistics.median(times), 2),
        "bare_ms": round(1000 * statistics.median(bare), 2),
        "bare_batch": best,
        "query_over_bare": round(statistics.median(times) / statistics.median(bare), 3),
        "query_over_bare_pairwise": round(
            statistics.median(query / passed for query, passed in zip(times, bare, strict=True)), 3
        ),
        "parts_ms": {
            part: round(statistics.median(getattr(answer.timing_ms, part) for answer in answers), 2)
            for part in ("decode", "queue", "sample", "search", "certify")
        },
    }
    print(f"median of {ROUNDS} rounds, {count} samples each, {report['threads']} threads")
    print("bare passes by batch:", {batch: round(1000 * median, 2) for batch, median in trials.items()})
    print(f"bare passes, batch {best:5}: {report['bare_ms']:8.2f} ms")
    print(f"cold query               : {report['query_ms']:8.2f} ms  {report['parts_ms']}")
    save("query", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
