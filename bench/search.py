"""Searches of a large gallery, by the processor and by a GPU if FAISS sees one: `make bench BENCH=search`.

One point, as a query of rule `embedding` searches once for its 128 nearest; and 1,024 points, as a vote does
for each 1,024 samples. Vectors are random and in no clusters, of which a search knows nothing. Both ways of
searching have to find the same items.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.results import save
from index import Device, Item, Snapshot, gpu
from index.arrangement import Arrangement
from index.columns import Columns
from index.contents import Contents
from index.growth import SEGMENT, State, View
from index.labels import Labels
from index.segment import LiveSegment, Segment
from index.votes import VOTES
from service.process import own_process

DIMENSION, NEAREST, ROUNDS = 129, 128, 3
# Of the items, who has left: a segment of which some have is searched otherwise.
LEFT = 0.05


def main() -> None:
    """Print the seconds of each search and, as the last line, their JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=2**34, help="memory of the GPU for vectors")
    asked = parser.parse_args()
    own_process()
    rng = np.random.default_rng(0)
    segments = [
        _segment(rng, number, min(SEGMENT, asked.items - start))
        for number, start in enumerate(track(range(0, asked.items, SEGMENT), "making vectors"), 1)
    ]
    points = _unit(rng, VOTES).astype(np.float64)
    device = gpu(asked.bytes)
    report: dict[str, Any] = {"items": asked.items, "dimension": DIMENSION, "gpu": device is not None}
    for kind, share in (("all", 0.0), ("some left", LEFT)):
        alive = [np.random.default_rng(segment.number).random(len(segment)) >= share for segment in segments]
        parts = [
            LiveSegment(segment, there if share else None)
            for segment, there in zip(segments, alive, strict=True)
        ]
        found = {name: _timed(_snapshot(parts, on), points) for name, on in _ways(device).items()}
        for name, (seconds, rows) in found.items():
            report[f"{kind}, {name}"] = seconds
            print(f"{kind:10} {name:10} one point {seconds['one']:.4f} s, votes {seconds['votes']:.3f} s")
            assert all(np.array_equal(*pair) for pair in zip(rows, found["processor"][1], strict=True))
    save("search", report)
    print(json.dumps(report))


def _ways(device: Device | None) -> dict[str, Device | None]:
    return {"processor": None} | ({} if device is None else {"GPU": device})


def _timed(
    snapshot: Snapshot, points: NDArray[np.float64]
) -> tuple[dict[str, float], list[NDArray[np.int64]]]:
    """Seconds of the fastest of some searches, and what was found; the first brings vectors to the device."""
    one = _fastest(lambda: snapshot.nearest(points[0], NEAREST).rows)
    votes = _fastest(lambda: snapshot.votes(points).rows)
    return {"one": one[0], "votes": votes[0]}, [one[1], votes[1]]


def _fastest(search: Callable[[], NDArray[np.int64]]) -> tuple[float, NDArray[np.int64]]:
    rows, seconds = search(), list[float]()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        rows = search()
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 5), rows


def _unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((count, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _segment(rng: np.random.Generator, number: int, size: int) -> Segment:
    first = (number - 1) * SEGMENT
    serials = np.arange(first, first + size)
    digests = np.zeros((size, 32), np.uint8)
    digests[:, :8] = serials.astype(">u8").view(np.uint8).reshape(-1, 8)
    vectors = _unit(rng, size)
    nowhere = np.zeros(1, np.int64)
    columns = Columns(serials, np.zeros(size, np.int32), digests, vectors)
    return Segment(number, columns, nowhere, vectors[:0], np.zeros(0), nowhere)


def _snapshot(parts: list[LiveSegment], device: Device | None) -> Snapshot:
    state = State(Arrangement.of(parts, Columns.none(DIMENSION)), Contents.of(np.zeros((0, 32), np.uint8)))
    view = View(DIMENSION, 0.0, Labels(["label"]), device)
    return Snapshot.of(1, view, state, lambda rows: [Item(str(row), "label") for row in rows])


if __name__ == "__main__":
    main()
