"""A gallery that lives, at a size: `make bench BENCH=gallery`, or `python -m bench.gallery 1000000`.

Artificial vectors of 128 numbers, ten items a label around a centre, go straight through the store, with a
label weight of 0.5. Each step is a process of its own, so that its peak of memory is its own:

build  a start without anything kept: all items are read from the database, and the next start is prepared
live   a start from what was kept; single adds, each acknowledged and then found; searches with the choice of
       rivals, in turns with what `IndexFlatL2.search` does in one array, on one thread; searches beside 100
       adds a second; searches with a filter on the metadata, that a tenth of the items match, in turns with
       ones without
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results import save
from certify import EmbeddingSpace, Terms
from index import Filter, Gallery, Item, NewItem, Snapshot, read_filter
from index.compaction import due
from index.flat import search
from service.retrieval.contest import Arranged, Contest

DIMENSION, OF_A_LABEL, WEIGHT = 128, 10, 0.5
MODEL = "bench"
# Items of one transaction of the preparation, single adds that are timed, and searches.
LOT, ADDS, SEARCHES = 5_000, 100, 60
# Items a second, for so many seconds.
RATE, SECONDS = 100, 20
# A bare search for so many neighbours is what searches are compared with.
NEIGHBOURS = 128
# One in so many items matches a filter.
SHARES = 10


def items(count: int, first: int = 0) -> Iterator[NewItem]:
    """`count` items, label after label, from item number `first` on."""
    for label in range(first // OF_A_LABEL, (first + count) // OF_A_LABEL):
        rng = np.random.default_rng(label)
        centre = rng.standard_normal(DIMENSION)
        for number in range(OF_A_LABEL):
            vector = centre + 0.5 * rng.standard_normal(DIMENSION)
            yield item(f"item-{label}-{number}", f"label {label}", vector)


def item(id_: str, label: str, vector: NDArray[np.float64]) -> NewItem:
    """An item with the direction of `vector` (d,), and no image to speak of."""
    single = (0.95 * vector / np.linalg.norm(vector)).astype(np.float32)
    return NewItem(
        Item(id_, label, {"path": f"{id_}.png", "source": "bench", "share": hash_of(id_) % SHARES}),
        b"an image",
        "image/png",
        single,
    )


def hash_of(id_: str) -> int:
    """A number of an id, the same in each process."""
    return zlib.crc32(id_.encode())


def ours(path: Path) -> Gallery:
    """The gallery at `path`."""
    return Gallery(path, MODEL, DIMENSION, WEIGHT)


def memory() -> dict[str, int]:
    """What this process holds, and the most that it ever held, in MiB."""
    held = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"held_mib": int(held.split()[1]) // 1024, "peak_mib": most // 1024}


def idle(gallery: Gallery) -> None:
    """Wait until nothing is left to do in the background."""
    while due(gallery.snapshot().state.arrangement) is not None:
        time.sleep(0.05)


def prepare(path: Path, count: int) -> dict[str, Any]:
    """Fill the database, as an import does."""
    gallery = Gallery(path, MODEL, DIMENSION)
    started, lot = time.perf_counter(), list[NewItem]()
    for new in items(count):
        lot.append(new)
        if len(lot) == LOT:
            gallery.add(lot)
            lot = []
    if lot:
        gallery.add(lot)
    gallery.store.close()
    return {"seconds": round(time.perf_counter() - started, 1)}


def build(path: Path, count: int) -> dict[str, Any]:
    """A start from the database alone."""
    fixed = memory()
    started, busy = time.perf_counter(), time.process_time()
    gallery = ours(path)
    seconds, processor = time.perf_counter() - started, time.process_time() - busy
    idle(gallery)
    kept = path.with_suffix(".pack")
    while not kept.exists():
        time.sleep(0.05)
    gallery.close()
    return {
        "ready_s": round(seconds, 2),
        "processor_s": round(processor, 2),
        "kept_mib": kept.stat().st_size >> 20,
        **memory(),
        "before_mib": fixed["held_mib"],
    }


def live(path: Path, count: int) -> dict[str, Any]:
    """A start from what was kept; adds and searches."""
    fixed = memory()
    started = time.perf_counter()
    gallery = ours(path)
    ready = time.perf_counter() - started
    report: dict[str, Any] = {"ready_s": round(ready, 2), "before_mib": fixed["held_mib"]}
    report["after_start"] = memory()
    report["add"] = added(gallery, count)
    report["after_adds"] = memory()
    report["load"] = loaded(gallery, count)
    idle(gallery)
    report |= memory()
    report["segments"] = len(gallery.snapshot().parts)
    report["filter"] = filtered(gallery)
    report["search"] = searched(gallery.snapshot())  # last: the bare index is a copy of all vectors
    gallery.close()
    return report


def added(gallery: Gallery, count: int) -> dict[str, Any]:
    """From acknowledgement to being found, for items of labels that are there and of new ones."""
    rng = np.random.default_rng(1)
    acknowledged, seen, worked, found = list[float](), list[float](), list[float](), list[float]()
    for number in range(ADDS):
        label = int(rng.integers(count // OF_A_LABEL)) if number % 2 else count + number
        new = item(f"added-{number}", f"label {label}", rng.standard_normal(DIMENSION))
        started = time.perf_counter()
        gallery.add([new])
        done, busy = time.perf_counter(), time.thread_time()
        snapshot = gallery.snapshot()
        digest, layout = snapshot.digest, snapshot.layout  # a query's key
        visible, processor = time.perf_counter(), time.thread_time() - busy
        nearest = snapshot.nearest(snapshot.lift(new.vector[None])[0], 1)
        ended = time.perf_counter()
        assert digest, layout
        if snapshot.items[nearest.rows[0]].id != f"added-{number}" and number % 2 == 0:
            raise SystemExit(f"item added-{number} was added and not found")
        acknowledged.append(done - started)
        seen.append(visible - done)
        worked.append(processor)
        found.append(ended - done)
    return {
        "acknowledged_ms": spread(acknowledged), "visible_ms": spread(seen),
        "visible_processor_ms": spread(worked), "found_ms": spread(found),
    }  # fmt: skip


def contests(snapshot: Snapshot, points: NDArray[np.float32]) -> Callable[[], float]:
    """Each call: one search with the choice of rivals, in seconds."""
    space = EmbeddingSpace.normalized(DIMENSION, padded=True)
    vectors = Arranged().of(snapshot)
    numbers = iter(range(len(points)))

    def one() -> float:
        contest = Contest(snapshot, vectors, space, "embedding", Terms(0.25, 0.001), top_k=1)
        samples = points[next(numbers)]
        started = time.perf_counter()
        lifted = snapshot.lift(samples)
        contest._claims(lifted, int(contest._nearest(lifted).rows[0]))
        return time.perf_counter() - started

    return one


def drawn(count: int) -> NDArray[np.float32]:
    """Samples (count, 512, d) of queries near the first items."""
    rng = np.random.default_rng(2)
    noisy = np.stack([new.vector for new in items(count)])[:, None] + 0.05 * rng.standard_normal(
        (count, 512, DIMENSION)
    )
    found = 0.95 * noisy / np.linalg.norm(noisy, axis=2, keepdims=True)
    return np.asarray(found, np.float32)


def searched(snapshot: Snapshot) -> dict[str, Any]:
    """Searches in turns with bare ones, one at a time."""
    bare = np.empty((len(snapshot), DIMENSION), np.float32)
    for start in range(0, len(snapshot), 2**16):
        rows = np.arange(start, min(start + 2**16, len(snapshot)))
        bare[rows] = snapshot.exact(rows)[:, :DIMENSION]
    samples = drawn(SEARCHES)
    one, times = contests(snapshot, samples), list[float]()
    passes = []
    for some in samples:
        times.append(one())
        centre = some.mean(axis=0)[None]
        started = time.perf_counter()
        search(bare, centre, NEIGHBOURS)
        passes.append(time.perf_counter() - started)
    ratios = [mine / theirs for mine, theirs in zip(times[5:], passes[5:], strict=True)]
    return {
        "ours_ms": spread(times[5:]), "bare_ms": spread(passes[5:]),
        "ours_over_bare": round(statistics.median(ratios), 2),
    }  # fmt: skip


def filtered(gallery: Gallery) -> dict[str, Any]:
    """The first view that a filter makes, the next ones, one after a change, and searches in it."""

    def share(number: int) -> Filter:
        return read_filter({"metadata.share": number}, most_conditions=1, most_values=1)

    def timed(number: int) -> float:
        started = time.perf_counter()
        view = gallery.filtered(share(number))
        assert view.digest
        assert view.layout  # a query's key
        return time.perf_counter() - started

    report: dict[str, Any] = {"first_ms": spread([timed(0)])}
    report["other_value_ms"] = spread([timed(number) for number in range(1, SHARES)])
    later = list[float]()
    for number in range(SHARES):
        gallery.add(
            [item(f"filter-{number}", f"label {number}", np.random.default_rng(number).random(DIMENSION))]
        )
        gallery.snapshot()
        later.append(timed(0))
    idle(gallery)
    view, whole = gallery.filtered(share(0)), gallery.snapshot()
    samples = drawn(SEARCHES)
    mine, theirs = contests(view, samples), contests(whole, samples)
    pairs = [(mine(), theirs()) for _ in samples][5:]
    inside, outside = (list(times) for times in zip(*pairs, strict=True))
    return report | {
        "after_a_change_ms": spread(later), "matching": len(view), "filtered_ms": spread(inside),
        "unfiltered_ms": spread(outside),
        "filtered_over_unfiltered": round(statistics.median(a / b for a, b in pairs), 2),
    }  # fmt: skip


def loaded(gallery: Gallery, count: int) -> dict[str, Any]:
    """Searches with and without RATE adds a second beside them; each sees the newest version."""
    times: dict[bool, list[float]] = {False: [], True: []}  # with adds, or not
    worked: dict[bool, list[float]] = {False: [], True: []}
    stop = threading.Event()
    done = list[float]()

    def add() -> None:
        rng, begin = np.random.default_rng(3), time.perf_counter()
        while not stop.is_set():
            label = int(rng.integers(count // OF_A_LABEL))
            gallery.add([item(f"busy-{len(done)}", f"label {label}", rng.standard_normal(DIMENSION))])
            done.append(time.perf_counter())
            time.sleep(max(0.0, begin + len(done) / RATE - time.perf_counter()))

    samples = drawn(SEARCHES)
    space, arranged = EmbeddingSpace.normalized(DIMENSION, padded=True), Arranged()
    for busy in (False, True):
        adding = threading.Thread(target=add) if busy else None
        if adding is not None:
            adding.start()
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            some = samples[len(times[busy]) % len(samples)]
            started, own = time.perf_counter(), time.thread_time()
            snapshot = gallery.snapshot()
            contest = Contest(
                snapshot, arranged.of(snapshot), space, "embedding", Terms(0.25, 0.001), top_k=1
            )
            lifted = snapshot.lift(some)
            contest._claims(lifted, int(contest._nearest(lifted).rows[0]))
            times[busy].append(time.perf_counter() - started)
            worked[busy].append(time.thread_time() - own)
        if adding is not None:
            stop.set()
            adding.join()
    by_clock, by_processor = (
        float(np.percentile(found[True], 95) / np.percentile(found[False], 95)) for found in (times, worked)
    )
    return {
        "adds_per_second": round(len(done) / SECONDS, 1),
        "quiet_ms": spread(times[False]), "busy_ms": spread(times[True]),
        "p95_busy_over_quiet": round(by_clock, 2), "p95_processor_busy_over_quiet": round(by_processor, 2),
    }  # fmt: skip


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, 95 % and most, in milliseconds."""
    found = np.percentile(seconds, [50, 95, 100]) * 1000
    return {
        name: round(float(value), 1) for name, value in zip(("median", "p95", "most"), found, strict=True)
    }


STEPS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"prepare": prepare, "build": build, "live": live}


def main() -> None:
    """Run all steps, print what each found, and all of it as JSON in the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("items", type=int, nargs="?", default=100_000)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step is not None:
        print(json.dumps(STEPS[asked.step](asked.folder / "gallery.sqlite3", asked.items)))
        return
    report: dict[str, Any] = {"items": asked.items, "dimension": DIMENSION, "label_weight": WEIGHT}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            command = [sys.executable, "-m", "bench.gallery", str(asked.items), "--step", step]
            ran = subprocess.run(
                [*command, "--folder", folder], stdout=subprocess.PIPE, text=True, check=True
            )
            report[step] = json.loads(ran.stdout.splitlines()[-1])
            print(step, report[step], flush=True)
    raw = asked.items * DIMENSION * 4 / 2**20
    report["raw_mib"] = round(raw)
    for step in ("build", "live"):
        over = report[step]["peak_mib"] - report[step]["before_mib"]
        report[step]["peak_over_raw"] = round(over / raw, 2)
    save("gallery", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
