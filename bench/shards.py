"""Queries of a gallery on shards, and what each costs: `make bench BENCH=shards`.

The same gallery in this process, and on 1, 2 and 4 shards of two copies each, every copy a process of its own
on this machine: so what is measured is what messages, checks and digests cost, and not what a network does.
Answers have to be equal to the last bit. Processor seconds are those of this process and of all copies.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results import save
from bench.shard_process import ShardProcess
from certify import EmbeddingSpace, Rule, Terms, prepare
from index import Item, Shards, Snapshot
from index.arrangement import Arrangement
from index.blending import blend
from index.columns import Columns
from index.contents import Contents
from index.growth import State, View
from index.labels import Labels
from index.segment import LiveSegment, Segment, sealed
from index.shards.messages import Keep
from service.process import own_process
from service.retrieval.contest import Arranged, Contest, Outcome

# So many of them, in turns.
SHARDS = (1, 2, 4)
DIMENSION, OF_LABEL, SEGMENTS, SAMPLES = 128, 50, 4, 1_000
# How far items, and samples, are from the centre of their label.
APART, NOISE = 0.5, 0.45
SPACE = EmbeddingSpace.normalized(DIMENSION, padded=True)
KINDS: dict[str, tuple[Rule, Terms]] = {
    "embedding": ("embedding", Terms(0.25, 0.001, comparisons=100_000_000)),
    "within": ("embedding", Terms(0.25, 0.001, "within", within_k=5, comparisons=100_000_000)),
    "vote": ("vote", Terms(0.25, 0.001)),
}


def main() -> None:
    """Print what queries cost and, as the last line, its JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=20)
    asked = parser.parse_args()
    own_process()
    prepare()
    rng = np.random.default_rng(0)
    centres = _unit(rng.standard_normal((asked.items // OF_LABEL, DIMENSION)))
    some = np.array_split(np.arange(len(centres)), SEGMENTS)
    segments = [_segment(rng, centres, labels, number) for number, labels in enumerate(some, 1)]
    queries = [_samples(rng, centres[label]) for label in rng.integers(len(centres), size=asked.queries)]
    held = {f"{count} shards": [(ShardProcess(), ShardProcess()) for _ in range(count)] for count in SHARDS}
    # Of a process that holds nothing yet: what comes to it after that is the gallery.
    empty = {
        name: [copy.held_mib for pair in pairs for copy in pair if _answers(copy)]
        for name, pairs in held.items()
    }
    ways: dict[str, Shards | None] = {"one machine": None}
    ways |= {name: Shards(pairs, 60) for name, pairs in held.items()}
    snapshots = {name: _snapshot(segments, shards) for name, shards in ways.items()}
    arranged = Arranged()
    for snapshot in snapshots.values():
        arranged.of(snapshot)
    report: dict[str, Any] = {
        "load": [round(os.getloadavg()[0], 1)],
        "queries": asked.queries,
        "items": asked.items,
        "dimension": DIMENSION,
        "segments": SEGMENTS,
    }
    for kind, (rule, terms) in KINDS.items():
        costs = {name: list[tuple[float, float]]() for name in ways}
        told = {name: list[Any]() for name in ways}
        before = {name: _travelled(held.get(name, ())) for name in ways}
        for samples in queries:  # one after the other in all ways, so that each has the same load
            for name, snapshot in snapshots.items():
                started, busy = time.perf_counter(), _processor(held.get(name, ()))
                contest = Contest(snapshot, arranged.of(snapshot), SPACE, rule, terms, top_k=5)
                outcome = contest.outcome(samples)
                costs[name].append((time.perf_counter() - started, _processor(held.get(name, ())) - busy))
                told[name].append(_told(outcome))
        report[kind] = {}
        for name in ways:
            after = _travelled(held.get(name, ()))
            messages, size = (
                (now - then) / asked.queries for now, then in zip(after, before[name], strict=True)
            )
            seconds, processor = zip(*costs[name], strict=True)
            report[kind][name] = found = {
                "seconds": round(statistics.median(seconds), 4),
                "processor_seconds": round(statistics.fmean(processor), 4),
                "messages": round(messages, 1),
                "bytes": round(size),
                "answers_that_differ": sum(
                    mine != theirs for mine, theirs in zip(told[name], told["one machine"], strict=True)
                ),
            }
            print(f"{kind:10} {name:12} {found}", flush=True)
    report["load"].append(round(os.getloadavg()[0], 1))
    report["memory_mib_of_a_copy"] = {
        name: round(
            statistics.fmean(
                copy.held_mib - before
                for copy, before in zip((copy for pair in pairs for copy in pair), empty[name], strict=True)
            )
        )
        for name, pairs in held.items()
    }
    far = snapshots["4 shards"]
    vectors = arranged.of(far)
    numbers = (
        vectors.halves,
        vectors.starts,
        vectors.radii,
        vectors.clusters.lowest,
        vectors.clusters.highest,
    )
    kept = sum(part.segment.columns.bytes + part.segment.centres.nbytes for part in far.parts)
    kept += far.bytes + sum(array.nbytes for array in numbers)
    report["bytes_an_item_at_the_coordinator"] = round(kept / len(far))
    report["bytes_an_item_of_vectors"] = 4 * (DIMENSION + 1)
    for shards in ways.values():
        if shards is not None:
            shards.close()
    for pairs in held.values():
        for copy in (copy for pair in pairs for copy in pair):
            copy.end()
    save("shards", report)
    print(json.dumps(report))


def _answers(copy: ShardProcess) -> bool:
    """Whether the process has loaded what it needs."""
    return copy(Keep(owner="", marks=()), 60).sound


def _processor(pairs: Sequence[tuple[ShardProcess, ...]]) -> float:
    """Processor seconds of this process and of all copies, so far."""
    return time.process_time() + sum(copy.processor_seconds for pair in pairs for copy in pair)


def _travelled(pairs: Sequence[tuple[ShardProcess, ...]]) -> tuple[int, int]:
    """Messages to all copies and back, and their bytes, so far."""
    copies = [copy for pair in pairs for copy in pair]
    return sum(copy.messages for copy in copies), sum(copy.bytes for copy in copies)


def _told(outcome: Outcome) -> tuple[Any, ...]:
    near = outcome.neighbors
    return near.rows.tolist(), near.distances.tolist(), near.outside, outcome.votes, outcome.certificate


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def _around(
    rng: np.random.Generator, centres: NDArray[np.float64], count: int, gap: float
) -> NDArray[np.float32]:
    """`count` unit vectors around each of `centres` (n, d), at about so large a gap from it."""
    noise = rng.standard_normal((len(centres), count, DIMENSION)) * gap / DIMENSION**0.5
    return _unit((centres[:, None] + noise).reshape(-1, DIMENSION)).astype(np.float32)


def _samples(rng: np.random.Generator, centre: NDArray[np.float64]) -> NDArray[np.float32]:
    return _around(rng, centre[None], SAMPLES, NOISE)


def _segment(
    rng: np.random.Generator, centres: NDArray[np.float64], labels: NDArray[np.int64], number: int
) -> Segment:
    """A segment of all items of `labels`."""
    of = np.repeat(labels, OF_LABEL)
    serials = labels[0] * OF_LABEL + np.arange(len(of))
    digests = np.zeros((len(of), 32), np.uint8)
    digests[:, :8] = rng.permutation(serials).astype(">u8").view(np.uint8).reshape(-1, 8)
    vectors = blend(_around(rng, centres[labels], OF_LABEL, APART), of, 0.5)
    return sealed(number, Columns(serials, of.astype(np.int32), digests, vectors))


def _snapshot(segments: list[Segment], shards: Shards | None) -> Snapshot:
    labels = 1 + max(int(segment.columns.labels.max()) for segment in segments)
    view = View(DIMENSION, 0.5, Labels(f"label {number}" for number in range(labels)), shards=shards)
    parts = [LiveSegment(view.kept(segment)) for segment in segments]
    arrangement = Arrangement.of(parts, Columns.none(DIMENSION + 1))
    state = State(arrangement, Contents.of(np.zeros((0, 32), np.uint8)))
    return Snapshot.of(1, view, state, lambda rows: [Item(str(row), "label") for row in rows])


if __name__ == "__main__":
    main()
