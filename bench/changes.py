"""Changes and batches beside queries, over HTTP: `make bench BENCH=changes`, five minutes at most.

In turns, on one server with the demo gallery: cold queries of one client alone, and while another adds items,
one after the other; and 64 cold queries in one batch, and as 64 single ones in flight. Each for so many
seconds, however few that are: a busy machine makes the figures worse, and not the run longer.
"""

import base64
import json
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from bench.results import save
from bench.server import EXECUTABLE, launched
from models.datasets import digits
from service.images import png

BATCH, SAMPLES = 64, 1_024
# Turns of queries alone and beside adds, each so many seconds; and pairs of batches, for so long at most.
ROUNDS, TURN_SECONDS = 6, 6.0
PAIRS, PAIRS_SECONDS = 5, 90.0
# A start, a request.
START_SECONDS, REQUEST_SECONDS = 100.0, 60.0


class Client:
    """Asks and adds digits that nobody sent before."""

    def __init__(self, http: httpx.Client, seed: int) -> None:
        self._http = http
        self._chance = np.random.default_rng(seed)
        self._pixels = digits("query").pixels
        self._added = 0

    def image(self) -> bytes:
        """A digit with a little noise."""
        pixels = self._pixels[self._chance.integers(len(self._pixels))].astype(np.int64)
        return png(np.clip(pixels + self._chance.integers(0, 12, pixels.shape), 0, 255).astype(np.uint8))

    def ask(self, image: bytes) -> float:
        """Seconds that one query took."""
        options = {"max_samples": SAMPLES, "min_gain": 0}
        started = time.perf_counter()
        self._http.post("/retrieve", params=options, content=image).raise_for_status()
        return time.perf_counter() - started

    def add(self) -> float:
        """Seconds until an item was added."""
        self._added += 1
        image = self.image()
        started = time.perf_counter()
        path, options = f"/gallery/items/bench/{self._added}", {"label": str(self._added % 10)}
        self._http.put(path, params=options, content=image).raise_for_status()
        return time.perf_counter() - started

    def ask_at_once(self, images: list[bytes]) -> float:
        """Seconds that so many queries in flight took."""
        with ThreadPoolExecutor(len(images)) as pool:
            started = time.perf_counter()
            list(pool.map(self.ask, images))
            return time.perf_counter() - started

    def ask_in_a_batch(self, images: list[bytes]) -> float:
        """Seconds that they took in one request."""
        queries = [
            {"image": base64.b64encode(image).decode(), "max_samples": SAMPLES, "min_gain": 0}
            for image in images
        ]
        started = time.perf_counter()
        answer = self._http.post("/retrieve/batch", json=queries)
        took = time.perf_counter() - started
        assert all(result["answer"] for result in answer.json()["results"])
        return took


def beside_adds(asking: Client, adding: Client) -> dict[str, float]:
    """Cold queries alone, and while items are added; milliseconds."""
    alone, beside, adds = list[float](), list[float](), list[float]()

    def add() -> None:
        while not over.is_set():
            adds.append(adding.add())

    def asked() -> list[float]:
        end, times = time.perf_counter() + TURN_SECONDS, list[float]()
        while time.perf_counter() < end:
            times.append(asking.ask(asking.image()))
        return times

    busy = 0.0
    for _ in range(ROUNDS):
        alone += asked()
        over, thread = threading.Event(), threading.Thread(target=add)
        started = time.perf_counter()
        thread.start()
        try:
            beside += asked()
        finally:
            over.set()
            thread.join()
        busy += time.perf_counter() - started
    p95 = [float(np.quantile(times, 0.95)) for times in (alone, beside)]
    return {
        "queries": len(alone) + len(beside),
        "alone_p50_ms": _ms(statistics.median(alone)),
        "beside_adds_p50_ms": _ms(statistics.median(beside)),
        "alone_p95_ms": _ms(p95[0]),
        "beside_adds_p95_ms": _ms(p95[1]),
        "p95_ratio": round(p95[1] / p95[0], 3),
        "adds_a_second": round(len(adds) / busy, 1),
        "add_p50_ms": _ms(statistics.median(adds)),
    }


def batch_over_flight(client: Client) -> dict[str, float]:
    """Queries a second in batches over as many in flight."""
    pairs, until, longest = list[tuple[float, float]](), time.perf_counter() + PAIRS_SECONDS, 0.0
    while not pairs or (len(pairs) < PAIRS and time.perf_counter() + longest < until):
        begun = time.perf_counter()
        images = [[client.image() for _ in range(BATCH)] for _ in range(2)]
        works = [client.ask_in_a_batch, client.ask_at_once]
        order = [0, 1] if len(pairs) % 2 else [1, 0]
        took = {which: works[which](images[which]) for which in order}
        pairs.append((took[0], took[1]))
        longest = max(longest, time.perf_counter() - begun)
    return {
        "pairs": len(pairs),
        "batch_s": round(statistics.median(batch for batch, _ in pairs), 3),
        "in_flight_s": round(statistics.median(flight for _, flight in pairs), 3),
        "batch_rate_over_in_flight": round(statistics.median(flight / batch for batch, flight in pairs), 3),
    }


def _load() -> str:
    """What else the machine had to do."""
    return f"{os.getloadavg()[0]:.0f} on {len(os.sched_getaffinity(0))} cores when it began"


def _ms(seconds: float) -> float:
    return round(1_000 * seconds, 1)


def main() -> None:
    """Print the figures, as the last line in JSON."""
    with TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        # All 64 in flight are admitted, however slow the machine.
        settings = {
            "PORT": "0",
            "DATA_DIR": folder,
            "GALLERY_WRITES": "loopback",
            "MAX_BACKLOG_SECONDS": "600",
        }
        environment = os.environ | {f"RETRIEVALGUARD_{name}": value for name, value in settings.items()}
        with (
            launched([EXECUTABLE, "serve", "--demo"], environment, Path(folder) / "log", START_SECONDS) as (
                _,
                url,
            ),
            httpx.Client(
                base_url=url, timeout=REQUEST_SECONDS, limits=httpx.Limits(max_connections=2 * BATCH)
            ) as http,
        ):
            client = Client(http, 1)
            for _ in range(5):
                client.ask(client.image())
            report: dict[str, Any] = (
                {"samples": SAMPLES, "load_average": _load()}
                | beside_adds(client, Client(http, 2))
                | batch_over_flight(client)
            )
    save("changes", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
