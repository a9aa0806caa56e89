"""What the Python client costs over raw httpx: the same repeated queries, turn by turn.

    python -m tests.retrievalguard.client.overhead docs/client.json

Answers are cached, so that as much as can be of what is measured is the client; a new query costs the service
tens of milliseconds besides.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.server import demo_server
from models.datasets import digits
from retrievalguard.client import Client
from service.images import png

QUERIES = 20
ROUNDS = 100


def seconds(ask: Callable[[bytes], object], images: list[bytes]) -> float:
    """What a query takes, on average."""
    started = time.perf_counter()
    for image in images:
        ask(image)
    return (time.perf_counter() - started) / len(images)


def main(path: Path) -> None:
    """Measure, and write the figures to `path`."""
    images = [png(pixels) for pixels in digits("query").pixels[:QUERIES]]
    with demo_server() as url, Client(url) as client, httpx.Client(base_url=url, timeout=60) as raw:

        def by_hand(image: bytes) -> object:
            headers = {"content-type": "application/octet-stream"}
            return raw.post("/v1/retrieve", content=image, headers=headers).raise_for_status().json()

        new = seconds(by_hand, images)
        seconds(client.retrieve, images)
        turns = [(seconds(by_hand, images), seconds(client.retrieve, images)) for _ in range(ROUNDS)]
    hand, ours = (statistics.median(turn) for turn in zip(*turns, strict=True))
    report = {
        "rounds": ROUNDS,
        "queries": QUERIES,
        "httpx_ms": round(1000 * hand, 3),
        "client_ms": round(1000 * ours, 3),
        "overhead": round(statistics.median(b / a for a, b in turns) - 1, 3),
        "new_query_ms": round(1000 * new, 3),
        "overhead_of_a_new_query": round((ours - hand) / new, 4),
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
