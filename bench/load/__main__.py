"""`python -m bench.load`: all loads, one after another; a table, a plot, and one JSON object as last line.

Capacity is measured first, by as many clients as fill the machine, and the rates of the open loads are shares
of it: ratios within a run count, whatever the machine. Everything is bounded; a scale of 1 takes less than
five minutes. The exit status is 1 if anything was answered wrongly, or failed.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bench.load.asking import Asking, claim
from bench.load.costs import bare_seconds, costs, hits_over_route, loaded, loaded_over_bare
from bench.load.kinds import REPEATED, Kinds
from bench.load.loads import Load, Make, Probes, closed, opened
from bench.load.report import came_back, figures, latencies, plot, probed, show
from bench.load.spent import spent
from bench.results import RESULTS, save
from bench.server import demo_server, redis_server
from service.keys import Keys
from service.settings import Settings

# Seconds of each load, at a scale of 1.
WARMING, CLOSED, OPEN, MIXED, KEYED, HITS, LOADED = 5.0, 6.0, 16.0, 15.0, 8.0, 2.0, 8.0
# After an open load, those who were told to come back by then do.
AFTERWARDS = 45.0
CLIENTS = (1, 8, 64)
# Images that are asked for three times over, at a scale of 1.
COSTED = 40
SHARES = (0.5, 1.0, 1.5, 3.0)
# What clients of a mix ask for, one after another; each begins elsewhere.
MIX = ("cold", "repeat", "near", "repeat", "big", "repeat", "write", "cold", "batch")
SHORT_CLIENTS, LONG_CLIENTS = 4, 12
# The greedy key may send fewer requests a minute than it has clients: it is refused on the slowest machine.
POLITE_CLIENTS, GREEDY_CLIENTS, GREEDY_REQUESTS = 2, 4, 3
# The demo's own gallery, of fewer samples, so that it is there within seconds.
SETTINGS = {"RETRIEVALGUARD_MODEL": "digits-cnn", "RETRIEVALGUARD_GALLERY_SAMPLES": "128"}


class LoadTest:
    """The loads of one run on the server at `url`; `keys`: of whom people have."""

    def __init__(self, url: str, keys: Mapping[str, str], scale: float) -> None:
        self._url, self._scale = url, scale
        self._kinds, self._greedy = Kinds(1, keys["polite"]), Kinds(2, keys["greedy"])
        self._headers = {"x-api-key": keys["polite"]}
        self.loads: dict[str, Load] = {}
        self.report: dict[str, Any] = {}

    async def all(self) -> None:
        """One after another, with probes throughout; and before, for comparison."""
        async with Probes(self._url) as quiet:
            await asyncio.sleep(self._scale * WARMING)
        async with Asking(self._url) as asking, Probes(self._url) as probes:
            self._asking = asking
            for which in range(REPEATED):
                came = await asking.until_answered(self._kinds.repeat(which))
                if came.good:
                    self._kinds.firsts[which] = claim(came.body)
            cold = self._makes("cold")
            await self._closed("warming up", [cold] * max(CLIENTS), WARMING)
            found = [
                await self._closed(f"closed, {clients} clients", [cold] * clients, CLOSED)
                for clients in CLIENTS
            ]
            await self._open(max(load.goodput for load in found))
            mix = self._makes(*MIX)
            await self._closed("mix, 8 clients", [mix[n:] + mix[:n] for n in range(8)], MIXED)
            await asking.until_answered(self._kinds.clean())
            await self._short_among_long()
            await self._closed(
                "two keys, one greedy",
                [cold] * POLITE_CLIENTS + [[self._greedy.repeat]] * GREEDY_CLIENTS,
                KEYED,
            )
        async with Asking(self._url) as asking:  # without probes beside
            self.costs = await costs(asking, self._kinds, self._headers, round(self._scale * COSTED))
            self._loaded = await loaded(asking, self._kinds, self._headers, self._scale * LOADED)
            hit = replace(self._kinds.repeat(0), cache="hit")
            self.report["cache_hits"] = await hits_over_route(asking, hit, self._scale * HITS)
        loads = self.loads.values()
        self.report |= {
            "failures": sum(one.wrong is not None for load in loads for one in load.all),
            "came_back": came_back(loads),
            "probes": probed(probes.came),
            "probes_before": probed(quiet.came),
            "loads": {name: figures(load) for name, load in self.loads.items()},
        }

    async def _open(self, capacity: float) -> None:
        names = {share: f"open, {share:.0%} of capacity" for share in SHARES}
        for share, name in names.items():
            await self._took(
                opened(
                    self._asking,
                    name,
                    self._kinds.cold,
                    share * capacity,
                    self._scale * OPEN,
                    self._scale * AFTERWARDS,
                )
            )
        full, worth = self.loads[names[1.0]].goodput, self._worth(names[1.0])
        self.report |= {
            "capacity_per_second": round(capacity, 2),
            "open_loads": {str(share): name for share, name in names.items()},
            "goodput_over_that_at_capacity": {
                str(share): over(self.loads[name].goodput, full) for share, name in names.items() if share > 1
            },
            "answers_a_core_second_over_that_at_capacity": {
                str(share): over(self._worth(name), worth) for share, name in names.items() if share > 1
            },
        }

    async def _short_among_long(self) -> None:
        short, long = self._makes("short"), self._makes("long")
        few, many = [short] * SHORT_CLIENTS, [short] * (SHORT_CLIENTS + LONG_CLIENTS)
        p95 = []
        for name, clients, seconds in (
            ("short ones, 4 clients", few, CLOSED),
            ("short ones, 16 clients", many, CLOSED),
            ("4 short among 12 long ones", few + [long] * LONG_CLIENTS, MIXED),
        ):
            load = await self._closed(name, clients, seconds)
            found = latencies(one for one in load.came if one.kind == "short")
            p95.append(found.get("p95_ms", 0.0))
        self.report |= {
            "short_p95_among_long_over_among_short": over(p95[2], p95[1]),
            "short_p95_among_long_over_alone": over(p95[2], p95[0]),
        }

    async def _closed(self, name: str, clients: Sequence[Sequence[Make]], seconds: float) -> Load:
        return await self._took(closed(self._asking, name, clients, self._scale * seconds))

    async def _took(self, coming: Awaitable[Load]) -> Load:
        """A load, with what it took."""
        before = await spent(self._asking, self._headers)
        load = await coming
        load.spent = (await spent(self._asking, self._headers)).since(before)
        self.loads[load.name] = load
        return load

    def _worth(self, name: str) -> float:
        """Answers for a second of a core of the server."""
        load = self.loads[name]
        return load.answers / load.spent["server_seconds"]

    def compare(self, bare: float) -> None:
        """The loaded server with the bare loop, of so many seconds of a core a sample."""
        self.report["costs"] = self.costs | {"bare_sample_seconds": bare}
        self.report["loaded_samples_over_bare"] = loaded_over_bare(self._loaded, self.costs, bare)

    def _makes(self, *kinds: str) -> list[Make]:
        return [self._kinds.named(kind) for kind in kinds]


def over(one: float, other: float) -> float | None:
    """A ratio, None over nothing."""
    return round(one / other, 3) if other else None


def stop(signal_number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C, so that the servers are stopped."""
    sys.exit(128 + signal_number)


def scale(text: str) -> float:
    """A number from .1 to 10."""
    number = float(text)
    if not 0.1 <= number <= 10:
        raise argparse.ArgumentTypeError(f"must be from 0.1 to 10, got {text}")
    return number


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Load test on loopback.")
    parser.add_argument("--scale", type=scale, default=1.0, help="times as long as usual (1)")
    parser.add_argument("--save", action="store_true", help="figures and plot into bench/results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    with tempfile.TemporaryDirectory(prefix="retrievalguard-load-") as folder:
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        made = Keys(data / "keys.json")
        keys = {
            "polite": made.create("polite", ["admin"])[1],
            "greedy": made.create("greedy", ["retrieve"], requests=GREEDY_REQUESTS)[1],
        }
        with redis_server(Path(folder)) as cache:
            settings = SETTINGS | {"REDIS_URL": cache} | dict(os.environ)
            with demo_server(data, settings) as url:
                run = LoadTest(url, keys, arguments.scale)
                asyncio.run(run.all())
            model = settings["RETRIEVALGUARD_MODEL"]
            run.compare(bare_seconds(Settings.model_validate({"model": model, "data_dir": data})))
    show(run.report, list(run.loads.values()))
    if arguments.save:
        save("load", run.report)
        plot(run.report, RESULTS / "load.png")
    print(json.dumps(run.report))
    return 1 if run.report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
