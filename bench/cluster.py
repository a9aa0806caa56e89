"""A cluster on one machine against one process: the same bits, speed, what Ray adds, and kills under load.

`make bench BENCH=cluster`; the number of kills may be an argument. All on one machine, so ratios count: what
is compared runs in turns, but for one sampler alone, which comes between two and two. Kills are of samplers
and API replicas: kills of copies of shards, PostgreSQL and Redis are in tests/index, bench/kills.py and
tests/service, and with one machine there is no Ray worker to lose. `load`: how busy the machine was at the
start and at the end. A part that fails, or finds no time left, is named in the report, and the next one goes
on; after `MOST_SECONDS` the report is printed with what there is.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import numpy as np

from bench.replicas import RayCluster, ray_cluster
from bench.results import save
from bench.server import EXECUTABLE, launched
from models.datasets import digits

QUERIES, LONG, COLD, HITS, TRIALS = 100, 100_000, 256, 200, 3
KILLS, CLIENTS, BACK_SECONDS = 50, 3, 60.0
# For all of it; for kills, of which there are fewer then; and for one answer.
MOST_SECONDS, KILLING_SECONDS, ANSWER_SECONDS = 630.0, 300.0, 60.0
Answer = dict[str, Any]
Report = dict[str, Any]


class Service:
    """A client of one service; no two of its questions are alike unless they are said to be."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=ANSWER_SECONDS)

    def __call__(self, seed: int, **options: object) -> httpx.Response:
        """The answer to picture number `seed`."""
        pixels = digits("query").pixels[seed % 200].astype(np.float32) / 255
        pixels[0, 3, 3] = (seed + 1) / 2**20
        return self._client.post("/retrieve", json={"pixels": pixels.tolist(), **options})

    def seconds(self, seed: int, **options: object) -> float:
        """How long that takes; the answer has to be one."""
        started = time.perf_counter()
        self(seed, **options).raise_for_status()
        return time.perf_counter() - started

    def rate(self, seed: int) -> float:
        """Samples a second of a long query."""
        answer = self(seed, max_samples=LONG, min_gain=0).raise_for_status().json()
        return LONG / (float(answer["timing_ms"]["sample"]) / 1000)


def told(response: httpx.Response) -> Answer:
    """What has to be the same of an answer, whoever gave it."""
    return {
        name: value
        for name, value in response.raise_for_status().json().items()
        if name not in ("timing_ms", "cache")
    }


def differing(one: Service, other: Service) -> int:
    """Of how many of `QUERIES` queries the answers differ in any bit."""
    pool = ThreadPoolExecutor(4)
    try:
        pairs = zip(*(pool.map(asking, range(QUERIES)) for asking in (one, other)), strict=True)
        return sum(told(first) != told(second) for first, second in pairs)
    finally:  # nothing is left to wait for once one has failed
        pool.shutdown(cancel_futures=True)


def added_ms(one: Service, other: Service, seeds: list[int], **options: object) -> float:
    """By how many ms `other` takes longer, in turns, at the median."""
    pairs = [(one.seconds(seed, **options), other.seconds(seed, **options)) for seed in seeds]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return round(1000 * float(second - first), 2)


def killed(cluster: RayCluster, one: Service, kills: int) -> Report:
    """What became of queries under load while replicas were killed at random moments."""
    chance, ended = random.Random(1), threading.Event()
    answers: list[tuple[int, httpx.Response | str]] = []

    def client(number: int) -> None:
        asking, seed = Service(cluster.url), 500_000 + number
        while not ended.is_set():
            try:
                answers.append((seed, asking(seed, max_samples=4096)))
            except httpx.HTTPError as error:  # no answer at all: worse than any
                answers.append((seed, type(error).__name__))
            seed += CLIENTS

    back: list[float] = []
    until = time.monotonic() + KILLING_SECONDS
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        try:
            while len(back) < kills and time.monotonic() < until:
                time.sleep(chance.uniform(0.2, 2))
                kind = ("Sampler", "Api")[len(back) % 2]
                gone, began = cluster.kill(kind, chance.randrange(2)), time.monotonic()
                while len(cluster.pids(kind) - {gone}) < 2 and time.monotonic() - began < BACK_SECONDS:
                    time.sleep(0.1)
                back.append(time.monotonic() - began)
        finally:
            ended.set()
        for each in clients:
            each.result()
    told_of = [(seed, answer) for seed, answer in answers if isinstance(answer, httpx.Response)]
    good = [(seed, answer) for seed, answer in told_of if answer.status_code == 200]
    sampled = chance.sample(good, min(40, len(good)))
    return {
        "kills": len(back),
        "answers": dict(Counter(str(answer.status_code) for _, answer in told_of)),
        "without_any_answer": len(answers) - len(told_of),
        "failed_without_retry_after": sum(
            answer.status_code != 200 and not (answer.status_code == 503 and "retry-after" in answer.headers)
            for _, answer in told_of
        ),
        "answers_compared": len(sampled),
        "answers_that_differ": sum(
            told(answer) != told(one(seed, max_samples=4096)) for seed, answer in sampled
        ),
        "seconds_until_process_is_back": {
            "median": round(statistics.median(back), 1), "most": round(max(back), 1),
        },
    }  # fmt: skip


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


def measure(folder: Path, kills: int, parts: Parts) -> None:
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
                found = [(one.rate(seed), two.rate(seed)) for seed in (next(seeds) for _ in range(TRIALS))]
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
                both = [two.rate(next(seeds)) for _ in range(TRIALS)]
                updated(cluster, "--api", "2", "--samplers", "1")
                alone = [two.rate(next(seeds)) for _ in range(TRIALS)]
                updated(cluster, *replicas)
                both += [two.rate(next(seeds)) for _ in range(TRIALS)]
                ratio = statistics.median(alone) / statistics.median(both)
                return {
                    "samples_per_second_one_sampler": round(statistics.median(alone)),
                    "time_of_a_long_query_two_samplers_over_one": round(ratio, 3),
                }

            parts.run("the same bits", bits)
            parts.run("samples a second", rates)
            parts.run("what Ray adds", added)
            parts.run("one sampler", one_sampler)
            if kills:
                parts.run("kills", lambda: killed(cluster, one, kills))
            parts.run("the same bits after kills", lambda: {"queries_that_differ_after": differing(one, two)})


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
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    parts, load, began = Parts(), [os.getloadavg()[0]], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        try:
            with within(MOST_SECONDS):
                measure(Path(folder), kills, parts)
        except OutOfTime:
            parts.report["failed"] = {**parts.report["failed"], "the rest": "no time was left"}
        except Exception as error:  # of the start or the end of a service
            parts.report["failed"] = {**parts.report["failed"], "service": repr(error)[:300]}
    load.append(os.getloadavg()[0])
    report = {
        **parts.report,
        "load": [round(each, 1) for each in load],
        "seconds": round(time.monotonic() - began),
        "cores": len(os.sched_getaffinity(0)),
    }
    save("cluster", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
