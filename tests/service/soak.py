"""Half an hour of mixed load with faults, `make soak`: `python -m tests.service.soak [--minutes 30]`.

A real server and a real Redis, which is killed, hangs, is emptied and is filled with what another program
wrote, in turn; clients vanish by the dozen; and people ask, write, send batches and large images. Repeated
queries must have the answers of the first time, what was acknowledged must be there at the end, and memory
and descriptors must not grow. The last line is JSON; the exit status is 1 if anything was wrong.

A server that is killed under changes is `bench.kills`.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.load.asking import Asked, Asking, claim
from bench.load.kinds import Kinds
from bench.load.loads import Load, closed
from tests.service.behaviours import BEHAVIOURS
from tests.service.processes import RedisServer, Server, serving
from tests.service.raw import connect

MIX = ("cold", "repeat", "near", "repeat", "big", "repeat", "write", "cold", "batch", "short")
CLIENTS = 6
# Between faults, and how long one lasts, in seconds; clients that vanish at a time.
EVERY, LASTS, VANISHING = 10.0, 3.0, 24
# Images that are asked for again and again: few, as every write makes another version.
REPEATED = 4
# Memory is looked at so often, and not before this share of the time: what is kept once is there by then.
LOOK_SECONDS, SETTLED = 1.0, 0.4
# In a shorter run it is told only: a large image that is being read is more than what could leak in it.
JUDGED_SECONDS = 1200
# Growth that is none: of memory in MiB a minute, and of its median from the first to the last third; and of
# descriptors.
MOST_SLOPE, MOST_GROWTH, MOST_DESCRIPTORS = 2.0, 0.1, 16


@dataclass
class Seen:
    """Resident memory in MiB by seconds, open descriptors, and which faults there were."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def resident(server: Server) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(points: list[tuple[float, float]]) -> float:
    """Of a line through the points, a minute."""
    times, values = np.array(points).T
    return 60 * float(np.polyfit(times, values, 1)[0]) if len(points) > 2 else 0.0


class Soak:
    """One run: `seconds` of load on `server`, whose cache is in `store`."""

    def __init__(self, server: Server, store: RedisServer, seconds: float) -> None:
        self._server, self._store, self._seconds = server, store, seconds
        self._kinds, self._chance = Kinds(3), random.Random(3)
        self._sent: dict[str, bytes] = {}
        self.seen = Seen()

    async def run(self) -> dict[str, Any]:
        """The report."""
        async with Asking(self._server.url) as asking:
            makes = [self._made(kind) for kind in MIX]
            started = time.perf_counter()
            async with self._beside(self._look(started)), self._beside(self._fail()):
                clients = [makes[n:] + makes[:n] for n in range(CLIENTS)]
                load = await closed(asking, "soak", clients, self._seconds)
            kept = [one.body["item"]["id"] for one in load.came if one.good and one.kind == "write"]
            lost = [id_ for id_ in kept if not await self._is_there(asking, id_)]
        return self._report(load, len(kept), lost)

    def _made(self, kind: str) -> Callable[[], Asked]:
        if kind == "write":
            return self._write
        return self._repeat if kind == "repeat" else self._kinds.named(kind)

    def _write(self) -> Asked:
        """An item of its own: what was acknowledged must be there."""
        asked, id_ = self._kinds.write(), f"soak-{len(self._sent)}"
        self._sent[id_] = asked.content
        return replace(asked, path=f"/gallery/items/{id_}?label=soak")

    def _repeat(self) -> Asked:
        """One of few images, of which the answer is told apart from others'."""
        which = self._chance.randrange(REPEATED)
        return replace(self._kinds.repeat(which), kind=f"repeat {which}")

    async def _is_there(self, asking: Asking, id_: str) -> bool:
        path = f"/gallery/images/{id_}"
        return await asking.content(Asked("item", "GET", path, b"")) == self._sent[id_]

    async def _look(self, started: float) -> None:
        while True:
            self.seen.memory.append((time.perf_counter() - started, resident(self._server)))
            self.seen.descriptors.append(len(os.listdir(f"/proc/{self._server.process.pid}/fd")))
            await asyncio.sleep(LOOK_SECONDS)

    async def _fail(self) -> None:
        chance = random.Random(1)
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "Redis is killed": self._killed,
            "Redis hangs": self._hanging,
            "Redis is emptied": self._emptied,
            "Redis holds what another wrote": self._forged,
            "clients vanish": lambda: self._vanish(chance),
        }
        while True:
            for name, fault in faults.items():
                await asyncio.sleep(EVERY)
                await fault()
                self.seen.faults[name] += 1

    async def _killed(self) -> None:
        self._store.kill()
        await asyncio.sleep(LASTS)
        await asyncio.to_thread(self._store.start)

    async def _hanging(self) -> None:
        with self._store.hanging():
            await asyncio.sleep(LASTS)

    async def _emptied(self) -> None:
        with self._store.client() as client:
            await asyncio.to_thread(client.flushall)

    async def _forged(self) -> None:
        """Every value is exchanged for another, and cut off."""

        def forge() -> None:
            with self._store.client() as client:
                keys = client.keys()
                values = [client.get(key) for key in keys]
                for key, value in zip(keys, values[1:] + values[:1], strict=True):
                    client.set(key, (value or b"")[:-1] or b"x")

        await asyncio.to_thread(forge)

    async def _vanish(self, chance: random.Random) -> None:
        def behave(name: str) -> None:
            with suppress(OSError), connect(self._server.url) as connection:
                BEHAVIOURS[name](connection)

        names = chance.choices(list(BEHAVIOURS), k=VANISHING)
        await asyncio.gather(*(asyncio.to_thread(behave, name) for name in names))

    @asynccontextmanager
    async def _beside(self, work: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(work)
        try:
            yield
        finally:
            if task.done():
                task.result()  # a fault that failed is no fault that was survived
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._back()

    def _back(self) -> None:
        """Redis as it should be, whichever fault was cut off."""
        with suppress(ProcessLookupError), self._store.hanging():
            pass

    def _report(self, load: Load, kept: int, lost: list[str]) -> dict[str, Any]:
        settled = [(at, mib) for at, mib in self.seen.memory if at >= SETTLED * self._seconds]
        thirds = np.array_split(np.array([mib for _, mib in settled]), 3)
        first, last = (round(float(np.median(third))) for third in (thirds[0], thirds[-1]))
        descriptors = self.seen.descriptors
        grown = slope(settled)
        failures = Counter(one.wrong for one in load.all if one.wrong)
        counts = Counter(one.kind.split()[0] for one in load.all if one.good)
        # The answer to one image in one version of the gallery, however often and whatever Redis did.
        claims: dict[tuple[str, int], list[Any]] = {}
        for one in load.all:
            if one.good and one.kind.startswith("repeat"):
                claims.setdefault((one.kind, one.body["gallery"]["version"]), []).append(claim(one.body))
        changed = sum(any(other != some[0] for other in some) for some in claims.values())
        report = {
            "seconds": round(self._seconds), "answered": dict(sorted(counts.items())),
            "refused": sum(one.wait is not None for one in load.all),
            "failures": dict(failures.most_common(5)), "faults": dict(self.seen.faults),
            "writes_kept": kept, "writes_lost": lost,
            "answers_compared": sum(len(some) - 1 for some in claims.values()), "answers_changed": changed,
            "memory_mib": {"first": first, "last": last, "a_minute": round(grown, 2)},
            "descriptors": {"first": descriptors[0], "most": max(descriptors), "last": descriptors[-1]},
            "rejected_values": self._server.metric("retrievalguard_cache_failures_total", reason="rejected"),
        }  # fmt: skip
        judged = self._seconds >= JUDGED_SECONDS
        leaks = judged and grown > MOST_SLOPE and last > (1 + MOST_GROWTH) * first
        hoards = descriptors[-1] > descriptors[0] + CLIENTS + MOST_DESCRIPTORS
        return report | {"wrong": bool(failures or lost or changed or leaks or hoards)}


def soaked(folder: Path, seconds: float, **settings: object) -> dict[str, Any]:
    """The report of so many seconds on an empty folder."""
    store = RedisServer(folder)
    try:
        with serving(folder / "data", "--demo", REDIS_URL=store.url, **settings) as server:
            report = asyncio.run(Soak(server, store, seconds).run())
            if "Traceback" in server.log.read_text():
                print(server.log.read_text()[-5_000:])
                report["wrong"] = True
    finally:
        store.kill()
    return report


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.service.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retrievalguard-soak-") as folder:
        report = soaked(
            Path(folder), 60 * given.minutes, GALLERY_SAMPLES=128, SAMPLES=None, GALLERY_WRITES="loopback"
        )
    print(json.dumps(report))
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
