"""A cluster on one machine against one process: the same bits, speed, what Ray adds, and kills under load.

`make bench BENCH=cluster`; the number of kills may be an argument. All on one machine, so ratios count: what
is compared runs in turns, but for one sampler alone, which comes after two. `load`: how busy the machine was
at the start and at the end.
"""

import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.replicas import RayCluster, ray_cluster
from bench.results import save
from bench.server import EXECUTABLE, launched
from models.datasets import digits

QUERIES, LONG, COLD, HITS, TRIALS = 100, 100_000, 256, 200, 3
KILLS, CLIENTS, BACK_SECONDS = 6, 3, 120.0
Answer = dict[str, Any]


class Service:
    """A client of one service; no two of its questions are alike unless they are said to be."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=600)

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
    with ThreadPoolExecutor(4) as pool:
        pairs = zip(*(pool.map(asking, range(QUERIES)) for asking in (one, other)), strict=True)
        return sum(told(first) != told(second) for first, second in pairs)


def added_ms(one: Service, other: Service, seeds: list[int], **options: object) -> float:
    """By how many ms `other` takes longer, in turns, at the median."""
    pairs = [(one.seconds(seed, **options), other.seconds(seed, **options)) for seed in seeds]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return round(1000 * float(second - first), 2)


def killed(cluster: RayCluster, one: Service, kills: int) -> dict[str, object]:
    """What became of queries under load while replicas were killed at random moments."""
    chance, ended = random.Random(1), threading.Event()
    answers: list[tuple[int, httpx.Response]] = []

    def client(number: int) -> None:
        asking, seed = Service(cluster.url), 500_000 + number
        while not ended.is_set():
            answers.append((seed, asking(seed, max_samples=4096)))
            seed += CLIENTS

    back: list[float] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        for number in range(kills):
            time.sleep(chance.uniform(0.5, 3))
            kind = ("Sampler", "Api")[number % 2]
            gone, began = cluster.kill(kind, chance.randrange(2)), time.monotonic()
            while len(cluster.pids(kind) - {gone}) < 2 and time.monotonic() - began < BACK_SECONDS:
                time.sleep(0.1)
            back.append(time.monotonic() - began)
        ended.set()
        for each in clients:
            each.result()
    good = [(seed, answer) for seed, answer in answers if answer.status_code == 200]
    sampled = chance.sample(good, min(40, len(good)))
    return {
        "kills": kills,
        "answers": dict(Counter(str(answer.status_code) for _, answer in answers)),
        "failed_without_retry_after": sum(
            answer.status_code != 200 and not (answer.status_code == 503 and "retry-after" in answer.headers)
            for _, answer in answers
        ),
        "answers_compared": len(sampled),
        "answers_that_differ": sum(
            told(answer) != told(one(seed, max_samples=4096)) for seed, answer in sampled
        ),
        "seconds_until_process_is_back": [round(seconds, 1) for seconds in back],
    }


def measured(folder: Path, kills: int) -> dict[str, object]:
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
    load = [os.getloadavg()[0]]
    environment_two = dict(environment)
    with launched([EXECUTABLE, "serve", "--demo"], environment, folder / "serve.log") as (_, url):
        one = Service(url)
        # A cache of its own: what one has drawn, the other has to draw as well.
        environment_two["RETRIEVALGUARD_DATA_DIR"] = str(copied(folder, folder / "cluster"))
        with ray_cluster(environment_two, folder / "cluster.log", *replicas) as cluster:
            two = Service(cluster.url)
            differ = differing(one, two)
            rates = [(one.rate(seed), two.rate(seed)) for seed in (next(seeds) for _ in range(TRIALS))]
            for asking in (one, two):
                asking(0)
            hit = added_ms(one, two, [0] * HITS)
            cold = added_ms(one, two, [next(seeds) for _ in range(40)], max_samples=COLD, min_gain=0)
            deaths = killed(cluster, one, kills)
            both = [two.rate(next(seeds)) for _ in range(TRIALS)]  # at the same time as one alone, nearly
            updating = cluster.update("--api", "2", "--samplers", "1")
            if updating.wait(600):
                raise RuntimeError((folder / "cluster.update").read_text())
            alone = [Service(cluster.url).rate(next(seeds)) for _ in range(TRIALS)]
    load.append(os.getloadavg()[0])
    here, there = (statistics.median(column) for column in zip(*rates, strict=True))
    return {
        "queries_compared": QUERIES,
        "queries_that_differ": differ,
        "samples_per_second_one_process_two_workers": round(here),
        "samples_per_second_two_samplers": round(there),
        "two_samplers_over_one_process": round(there / here, 3),
        "samples_per_second_one_sampler": round(statistics.median(alone)),
        "time_of_a_long_query_two_samplers_over_one": round(
            statistics.median(alone) / statistics.median(both), 3
        ),
        "added_to_a_hit_ms": hit,
        "added_to_a_cold_query_ms": cold,
        **deaths,
        "load": [round(each, 1) for each in load],
        "cores": len(os.sched_getaffinity(0)),
    }


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
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        report = measured(Path(folder), kills)
    save("cluster", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
