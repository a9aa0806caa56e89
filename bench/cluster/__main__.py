"""A cluster on one machine against one process: the same bits, speed, and what Ray adds.

`make bench BENCH=cluster`. All on one machine, so ratios count: what is compared runs in turns, but for one
sampler alone, which comes between two and two. Kills are a benchmark of their own (`bench.cluster.kills`).
`load`: how busy the machine was at the start and at the end. A part that fails, or finds no time left, is
named in the report, and the next one goes on; after `MOST_SECONDS` the report is printed with what there is.
"""

import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import numpy as np

from bench.cluster.asking import Answer, Service, told
from bench.replicas import RayCluster, ray_cluster
from bench.results import run_noted, save
from bench.server import EXECUTABLE, launched

QUERIES, LONG, COLD, HITS, TRIALS = 100, 100_000, 256, 200, 3
# Short queries beside so many clients with long ones.
SHORT, LONG_CLIENTS = 60, 2
# For all of it.
MOST_SECONDS = 630.0
Report = dict[str, Any]


def rate(service: Service, seed: int) -> float:
    """Samples a second of a long query."""
    answer = service(seed, max_samples=LONG, min_gain=0).raise_for_status().json()
    return LONG / (float(answer["timing_ms"]["sample"]) / 1000)


def content(response: httpx.Response) -> Answer:
    """What has to be the same of an answer."""
    return told(response.raise_for_status().json())


def differing(one: Service, other: Service) -> int:
    """Of how many of `QUERIES` queries the answers differ in any bit."""
    pool = ThreadPoolExecutor(4)
    try:
        pairs = zip(*(pool.map(asking, range(QUERIES)) for asking in (one, other)), strict=True)
        return sum(content(first) != content(second) for first, second in pairs)
    finally:  # nothing is left to wait for once one has failed
        pool.shutdown(cancel_futures=True)


def added_ms(one: Service, other: Service, seeds: list[int], **options: object) -> float:
    """By how many ms `other` takes longer, in turns, at the median."""
    pairs = [(one.seconds(seed, **options), other.seconds(seed, **options)) for seed in seeds]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return round(1000 * float(second - first), 2)


def short_beside_long(url: str, seeds: Iterator[int]) -> Report:
    """How long short queries take alone, and beside clients that ask long ones all the while."""
    service, ended = Service(url), threading.Event()

    def ask_long() -> None:
        asking = Service(url)
        while not ended.is_set():
            rate(asking, next(seeds))

    def milliseconds() -> dict[str, float]:
        found = [1000 * service.seconds(next(seeds), max_samples=COLD, min_gain=0) for _ in range(SHORT)]
        return {
            name: round(float(np.percentile(found, share)), 1) for name, share in (("p50", 50), ("p95", 95))
        }

    alone = milliseconds()
    with ThreadPoolExecutor(LONG_CLIENTS) as pool:
        clients = [pool.submit(ask_long) for _ in range(LONG_CLIENTS)]
        try:
            beside = milliseconds()
        finally:
            ended.set()
        for each in clients:
            each.result()
    return {"short_alone_ms": alone, "short_beside_long_ms": beside}


class Parts:
    """The report, part by part: what one of them fails with is in it, too."""

    def __init__(self) -> None:
        self.report: Report = {"failed": {}}

    def run(self, name: str, part: Callable[[], Report]) -> None:
        """Add what `part` finds, or why it found nothing."""
        try:
            found = part()
        except OutOfTime:
            raise
        except Exception as error:
            print(f"{name} failed: {error!r}", file=sys.stderr)
            found = {"failed": {**self.report["failed"], name: repr(error)[:300]}}
        self.report |= found


class OutOfTime(BaseException):
    """All of it has taken `MOST_SECONDS`."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises `OutOfTime` in the block after so many seconds."""

    def out(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, out)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(folder: Path, parts: Parts) -> None:
    """All figures, with data in `folder`."""
    environment = os.environ | {
        f"RETRIEVALGUARD_{name}": value
        for name, value in {
            "DATA_DIR": str(folder), "PORT": "0", "THREADS": "2", "GALLERY_SAMPLES": "256",
            "SECRET": "a secret of the benchmark alone", "MAX_BACKLOG_SECONDS": "600",
        }.items()
    }  # fmt: skip
    seeds = iter(range(1_000, 10**6))
    replicas = ("--api", "2", "--samplers", "2")
    environment_two = dict(environment)
    with launched([EXECUTABLE, "serve", "--demo"], environment, folder / "serve.log") as (_, url):
        one = Service(url)
        # A cache of its own: what one has drawn, the other has to draw as well.
        environment_two["RETRIEVALGUARD_DATA_DIR"] = str(copied(folder, folder / "cluster"))
        with ray_cluster(environment_two, folder / "cluster.log", *replicas) as cluster:
            two = Service(cluster.url)

            def bits() -> Report:
                return {"queries_compared": QUERIES, "queries_that_differ": differing(one, two)}

            def rates() -> Report:
                found = [(rate(one, seed), rate(two, seed)) for seed in (next(seeds) for _ in range(TRIALS))]
                here, there = (statistics.median(column) for column in zip(*found, strict=True))
                return {
                    "samples_per_second_one_process_two_workers": round(here),
                    "samples_per_second_two_samplers": round(there),
                    "two_samplers_over_one_process": round(there / here, 3),
                }

            def added() -> Report:
                for asking in (one, two):
                    asking(0)
                cold = [next(seeds) for _ in range(40)]
                return {
                    "added_to_a_hit_ms": added_ms(one, two, [0] * HITS),
                    "added_to_a_cold_query_ms": added_ms(one, two, cold, max_samples=COLD, min_gain=0),
                }

            def one_sampler() -> Report:
                both = [rate(two, next(seeds)) for _ in range(TRIALS)]
                updated(cluster, "--api", "2", "--samplers", "1")
                alone = [rate(two, next(seeds)) for _ in range(TRIALS)]
                updated(cluster, *replicas)
                both += [rate(two, next(seeds)) for _ in range(TRIALS)]
                ratio = statistics.median(alone) / statistics.median(both)
                return {
                    "samples_per_second_one_sampler": round(statistics.median(alone)),
                    "time_of_a_long_query_two_samplers_over_one": round(ratio, 3),
                }

            parts.run("the same bits", bits)
            parts.run("samples a second", rates)
            parts.run("what Ray adds", added)
            parts.run("one sampler", one_sampler)
            parts.run("short beside long", lambda: short_beside_long(cluster.url, seeds))
            parts.run("the same bits again", lambda: {"queries_that_differ_after": differing(one, two)})


def updated(cluster: RayCluster, *options: str) -> None:
    """Have the cluster be so; raises what its log says if that fails."""
    updating = cluster.update(*options)
    try:
        if updating.wait(120):
            raise RuntimeError(cluster.log.with_suffix(".update").read_text())
    finally:
        updating.kill()


def copied(source: Path, target: Path) -> Path:
    """The folder `target` with the gallery of `source`, embedded, and how the network is run."""
    target.mkdir()
    there, here = (sqlite3.connect(place / "gallery.sqlite3") for place in (source, target))
    there.backup(here)
    there.close()
    here.close()
    shutil.copy(source / "calibration.json", target)
    return target


def main() -> None:
    """Print the report, as the last line, in JSON."""
    parts = Parts()
    with run_noted(parts.report), tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        try:
            with within(MOST_SECONDS):
                measure(Path(folder), parts)
        except OutOfTime:
            parts.report["failed"] = {**parts.report["failed"], "the rest": "no time was left"}
        except Exception as error:  # of the start or the end of a service
            parts.report["failed"] = {**parts.report["failed"], "service": repr(error)[:300]}
    save("cluster", parts.report)
    print(json.dumps(parts.report))


if __name__ == "__main__":
    main()
