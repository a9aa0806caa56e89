"""The load test: `python -m bench.load` starts a server and puts Locust users on it; no answer may be wrong.

Each user queries without pause with held-out digits, half of the time of each kind: `cold`, an input that was
never seen, so all samples are drawn; and `repeat`, one of a few digits, so that the answer comes from the
cache. A repeat must bring the neighbour and the certificate of the first time, to the last digit. A user
waits for its answer before it asks again: latencies are those at this number of users, not at a rate.

The last line of the output is one JSON object; the exit status is 1 if a request failed.
"""

import argparse
import itertools
import json
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

# Locust makes the standard library cooperative as it is imported: before the modules that use it.
from locust import FastHttpUser, constant, task
from locust.env import Environment

# isort: split
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.server import demo_server
from models.datasets import digits
from service.images import png

# Far below what the server takes at once: being turned away would count as a failure.
MAX_USERS = 64
MAX_SECONDS = 600
REPEATED = 8
HEADERS = {"Content-Type": "image/png"}
KINDS = ("cold", "repeat")

Claim = dict[str, Any]


class Queries:
    """The images that users send, shared by all of them."""

    def __init__(self) -> None:
        self._pixels = digits("query").pixels
        self._numbers = itertools.count(1)
        self._repeated = itertools.cycle(range(REPEATED))
        self.repeated = [png(pixels) for pixels in self._pixels[:REPEATED]]
        self.claims: list[Claim] = []

    def cold(self) -> bytes:
        """An image never sent before: a held-out digit with a counter's next number laid over it."""
        number = next(self._numbers)
        return png(with_number(self._pixels[number % len(self._pixels)], number))

    def repeat(self) -> tuple[bytes, Claim]:
        """One of the repeated images, in turn, and what was claimed of it the first time."""
        which = next(self._repeated)
        return self.repeated[which], self.claims[which]

    def ask_first(self, url: str) -> None:
        """Ask for each of the repeated images once, before anything is measured."""
        for image in self.repeated:
            request = urllib.request.Request(f"{url}/retrieve", image, HEADERS)
            with urllib.request.urlopen(request, timeout=60) as response:
                self.claims.append(claim(json.load(response)))


def with_number(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The image (1, 8, 8) with the 64 bits of `number` in its lowest bits: no pixel changes by over 1."""
    bits = np.unpackbits(np.array([number], ">u8").view(np.uint8))
    return pixels ^ bits.reshape(pixels.shape)


def claim(answer: dict[str, Any]) -> Claim:
    """The part of an answer that must not depend on where its samples came from."""
    return {field: answer[field] for field in ("neighbor", "certificate", "gallery")}


def complaint(status: int, body: str, cache: str, first: Claim | None) -> str | None:
    """What is wrong with an answer, if anything: `cache` is what it must say, `first` what it must repeat."""
    if status != 200:
        return f"status {status}: {body}"
    try:
        answer = json.loads(body)
        claimed = claim(answer)
    except (ValueError, KeyError, TypeError) as error:
        return f"not an answer with a certificate ({error!r}): {body}"
    if answer.get("cache") != cache:
        return f"cache is {answer.get('cache')}, expected {cache}"
    if first is not None and claimed != first:
        return f"the claim changed from {first} to {claimed}"
    return None


class Visitor(FastHttpUser):
    """A client of POST /retrieve."""

    wait_time = constant(0)
    queries: Queries

    @task
    def cold(self) -> None:
        """A new input, which the cache cannot know."""
        self._query("cold", self.queries.cold(), "miss", None)

    @task
    def repeat(self) -> None:
        """An input that the cache knows."""
        image, first = self.queries.repeat()
        self._query("repeat", image, "hit", first)

    def _query(self, kind: str, image: bytes, cache: str, first: Claim | None) -> None:
        with self.client.post(
            "/retrieve",
            data=image,  # type: ignore[arg-type]  # documented to take bytes, annotated not to
            headers=HEADERS,
            name=kind,
            catch_response=True,
        ) as response:
            body = response.text or str(response.error)
            if wrong := complaint(response.status_code, body, cache, first):
                response.failure(wrong)


class Tally:
    """Latencies and complaints by kind, as Locust reports them."""

    def __init__(self, environment: Environment) -> None:
        self.latencies: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.complaints: dict[str, list[str]] = {kind: [] for kind in KINDS}
        environment.events.request.add_listener(self._record)  # type: ignore[no-untyped-call]

    def _record(self, name: str, response_time: float, exception: Exception | None, **_: object) -> None:
        self.latencies[name].append(response_time)
        if exception is not None:
            self.complaints[name].append(str(exception))

    def report(self, users: int, seconds: float) -> dict[str, Any]:
        """The figures of the run."""
        requests = sum(map(len, self.latencies.values()))
        return {
            "requests": requests,
            "failures": sum(map(len, self.complaints.values())),
            "seconds": round(seconds, 2),
            "users": users,
            "requests_per_second": round(requests / seconds, 2),
            "kinds": {kind: self._kind(kind) for kind in KINDS},
        }

    def _kind(self, kind: str) -> dict[str, float]:
        times = self.latencies[kind] or [0.0]
        p50, p95, p99 = np.percentile(times, (50, 95, 99))
        figures = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(times)}
        return {"requests": len(self.latencies[kind]), "failures": len(self.complaints[kind])} | {
            name: round(float(value), 1) for name, value in figures.items()
        }


def put_load(url: str, users: int, seconds: float) -> tuple[Tally, float]:
    """Let `users` query for `seconds`; queries under way at the end are waited for and counted."""
    environment = Environment(user_classes=[Visitor], host=url, stop_timeout=60, catch_exceptions=False)
    tally = Tally(environment)
    Visitor.queries = Queries()
    Visitor.queries.ask_first(url)
    runner = environment.create_local_runner()
    started = time.perf_counter()
    runner.start(users, spawn_rate=users)
    time.sleep(seconds)  # Locust's, cooperative: the users run meanwhile
    runner.quit()
    return tally, time.perf_counter() - started


def show(report: dict[str, Any]) -> None:
    """The figures as a table."""
    table = Table(title=f"{report['users']} users for {report['seconds']} s")
    for column in ("kind", "requests", "failures", "req/s", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind, of in report["kinds"].items():
        rate = round(of["requests"] / report["seconds"], 2)
        times = (of[name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
        table.add_row(kind, *map(str, (of["requests"], of["failures"], rate, *times)))
    Console().print(table)


def bounded(limit: int) -> Callable[[str], int]:
    """A parser of whole numbers from 1 to `limit`."""

    def parse(text: str) -> int:
        number = int(text)
        if not 1 <= number <= limit:
            raise argparse.ArgumentTypeError(f"must be from 1 to {limit}, got {number}")
        return number

    return parse


def stop(signal_number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C, so that the server is stopped."""
    sys.exit(128 + signal_number)


def main() -> int:
    """Run the load test; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Load test on loopback.")
    parser.add_argument("--users", type=bounded(MAX_USERS), default=8, help="at the same time (8)")
    parser.add_argument("--seconds", type=bounded(MAX_SECONDS), default=20, help="of load (20)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    with demo_server() as url:
        tally, seconds = put_load(url, arguments.users, arguments.seconds)
    report = tally.report(arguments.users, seconds)
    show(report)
    for kind, complaints in tally.complaints.items():
        for text, count in Counter(complaints).most_common(5):
            print(f"{kind}: {count} x {text}")
    print(json.dumps(report))
    return 1 if report["failures"] or not report["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
