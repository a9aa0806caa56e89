"""Queries of a gallery on shards, and what travels for each: `make bench BENCH=shards`.

The same gallery on one machine and on 1, 2 and 4 shards of two copies each, all of them in this process: so
what is measured is what messages, checks and digests cost, and not what a network does. Answers have to be
equal to the last bit.
"""

import argparse
import json
import os
import pickle  # to weigh messages
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results import save
from certify import EmbeddingSpace, Rule, Terms, prepare
from index import Item, Shard, Shards, Snapshot
from index.arrangement import Arrangement
from index.blending import blend
from index.columns import Columns
from index.contents import Contents
from index.growth import State, View
from index.labels import Labels
from index.segment import LiveSegment, Segment, sealed
from index.shards.messages import Answer, Request
from service.process import own_process
from service.retrieval.contest import Arranged, Contest, Outcome

DIMENSION, OF_LABEL, SEGMENTS, SAMPLES = 128, 50, 4, 1_000
# How far items, and samples, are from the centre of their label.
APART, NOISE = 0.5, 0.45
SPACE = EmbeddingSpace.normalized(DIMENSION, padded=True)
KINDS: dict[str, tuple[Rule, Terms]] = {
    "embedding": ("embedding", Terms(0.25, 0.001, comparisons=100_000_000)),
    "within": ("embedding", Terms(0.25, 0.001, "within", within_k=5, comparisons=100_000_000)),
    "vote": ("vote", Terms(0.25, 0.001)),
}


class Weighed:
    """A copy in this process; how many messages there were, and their bytes if they were pickled."""

    def __init__(self) -> None:
        self._shard = Shard()
        self.weighs = False
        self.messages = self.bytes = 0

    def __call__(self, request: Request, seconds: float) -> Answer:
        """The answer of the shard."""
        answer = self._shard.answer(request)
        if self.weighs:
            self.messages += 1
            self.bytes += len(pickle.dumps(request, 5)) + len(pickle.dumps(answer, 5))
        return answer


def main() -> None:
    """Print the seconds and the bytes of queries and, as the last line, their JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=6)
    asked = parser.parse_args()
    own_process()
    prepare()
    rng = np.random.default_rng(0)
    centres = _unit(rng.standard_normal((asked.items // OF_LABEL, DIMENSION)))
    some = np.array_split(np.arange(len(centres)), SEGMENTS)
    segments = [_segment(rng, centres, labels, number) for number, labels in enumerate(some, 1)]
    queries = [_samples(rng, centres[label]) for label in rng.integers(len(centres), size=asked.queries)]
    held = {f"{count} shards": [[Weighed(), Weighed()] for _ in range(count)] for count in (1, 2, 4)}
    ways: dict[str, Shards | None] = {"one machine": None}
    ways |= {name: Shards(copies, 60) for name, copies in held.items()}
    snapshots = {name: _snapshot(segments, shards) for name, shards in ways.items()}
    arranged = Arranged()
    for snapshot in snapshots.values():
        arranged.of(snapshot)
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        "load": load,
        "queries": asked.queries,
        "items": asked.items,
        "dimension": DIMENSION,
        "segments": SEGMENTS,
    }
    for kind, (rule, terms) in KINDS.items():
        seconds = {name: list[float]() for name in ways}
        answers = {name: list[Any]() for name in ways}
        for samples in queries:  # one after the other in all ways, so that each has the same load
            for name, snapshot in snapshots.items():
                started = time.perf_counter()
                contest = Contest(snapshot, arranged.of(snapshot), SPACE, rule, terms, top_k=5)
                outcome = contest.outcome(samples)
                seconds[name].append(time.perf_counter() - started)
                answers[name].append(_told(outcome))
        assert all(answers[name] == answers["one machine"] for name in ways)
        report[kind] = {}
        for name, snapshot in snapshots.items():
            copies = [copy for pair in held.get(name, ()) for copy in pair]
            for copy in copies:
                copy.weighs, copy.messages, copy.bytes = True, 0, 0
            Contest(snapshot, arranged.of(snapshot), SPACE, rule, terms, top_k=5).outcome(queries[0])
            for copy in copies:
                copy.weighs = False
            report[kind][name] = found = {
                "seconds": round(statistics.median(seconds[name]), 4),
                "messages": sum(copy.messages for copy in copies),
                "bytes": sum(copy.bytes for copy in copies),
            }
            print(f"{kind:10} {name:12} {found}", flush=True)
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
    report["bytes an item at the coordinator"] = round(kept / len(far))
    report["bytes an item of vectors"] = 4 * (DIMENSION + 1)
    for shards in ways.values():
        if shards is not None:
            shards.close()
    save("shards", report)
    print(json.dumps(report))


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
    view = View(DIMENSION, 0.5, Labels(), shards=shards)
    parts = [LiveSegment(view.kept(segment)) for segment in segments]
    arrangement = Arrangement.of(parts, Columns.none(DIMENSION + 1))
    state = State(arrangement, Contents.of(np.zeros((0, 32), np.uint8)))
    return Snapshot.of(1, view, state, lambda rows: [Item(str(row), "label") for row in rows])


if __name__ == "__main__":
    main()
