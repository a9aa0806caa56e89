"""How many machines a load needs: what it asks of each kind, and how busy each may be."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import simpy

from bench.simulation.cluster import Cluster, Ended, Machines, Steps
from bench.simulation.questions import questions
from bench.simulation.times import ITEM_BYTES, Prices, Times

# Beyond two thirds waiting grows quickly (docs/operations.md, "Sizing").
BUSY = 2 / 3
# Of those that are left when one copy of a shard is away.
BUSY_WITHOUT = 0.9
# Seconds that a search may take of a query, which says how small shards have to be.
SEARCHING = 0.1
ENDLESS = 100_000
# The first seconds of a run are no steady state.
SETTLING = 5.0
Fault = Callable[[Cluster], Steps[None]]


@dataclass(frozen=True)
class Demand:
    """Questions a second, and after how many samples those of each kind stop."""

    rate: float
    stops: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Simulated:
    """What became of all questions, and how busy each kind of machine was: seconds of work a second."""

    came: list[Ended]
    asked: dict[str, float]

    def steady(self) -> list[Ended]:
        """Those that came when the cluster had settled."""
        return [one for one in self.came if one.at >= SETTLING]


def run(
    plan: Machines, times: Times, load: Demand, seconds: float, seed: int, fault: Fault | None = None
) -> Simulated:
    """Simulate so many seconds in which questions come; it ends when all are answered."""
    env, rng = simpy.Environment(), np.random.default_rng(seed)
    cluster = Cluster(env, plan, times, rng)
    cluster.warm(load.stops["default"])
    env.process(cluster.asked(questions(load.rate, seconds, load.stops, rng)))
    if fault is not None:
        env.process(fault(cluster))
    env.run()
    worked = {
        "gpus": cluster.gpus.worked,
        "cores": cluster.cores.worked,
        "shard cores": cluster.shards.worked,
    }
    return Simulated(cluster.came, {name: found / seconds for name, found in worked.items()})


def needed(plan: Machines, times: Times, load: Demand, seconds: float, seed: int) -> dict[str, float]:
    """Machines of each kind that would be busy all the time, whatever `plan` says of their number."""
    at_once = math.ceil(load.rate * SEARCHING)
    endless = replace(plan, gpus=ENDLESS, cores=ENDLESS, shard_cores=at_once)
    return run(endless, times, load, seconds, seed).asked


def shards(times: Times, items: int) -> int:
    """So many that no query waits for its own search for longer than SEARCHING."""
    return math.ceil(times.far * items / SEARCHING)


def plan_for(plan: Machines, need: Mapping[str, float], *, spare: bool) -> Machines:
    """`plan` with as many machines as are needed; with `spare` also when each shard has lost a copy."""
    copies = plan.copies - 1 if spare else plan.copies
    busy = BUSY_WITHOUT if spare else BUSY
    return replace(
        plan,
        gpus=math.ceil(need["gpus"] / BUSY),
        cores=math.ceil(need["cores"] / BUSY),
        shard_cores=math.ceil(need["shard cores"] / plan.shards / copies / busy),
    )


def cost(plan: Machines, prices: Prices) -> dict[str, float]:
    """Dollars an hour of each kind of machine, and of memory."""
    gigabytes = (plan.copies * plan.items * ITEM_BYTES + plan.redis_bytes) / 2**30
    return {
        "gpus": plan.gpus * prices.gpu,
        "cores": plan.cores * prices.core,
        "shard cores": plan.shards * plan.copies * plan.shard_cores * prices.core,
        "memory": gigabytes * prices.gigabyte,
    }


def busy(plan: Machines, asked: Mapping[str, float]) -> dict[str, float]:
    """Of each kind of machine, which share of its time it works."""
    there = {
        "gpus": plan.gpus,
        "cores": plan.cores,
        "shard cores": plan.shards * plan.copies * plan.shard_cores,
    }
    return {name: round(asked[name] / number, 3) for name, number in there.items()}


def figures(came: Sequence[Ended]) -> dict[str, object]:
    """Latencies of what was answered in milliseconds, by kind, and the share of each way."""
    ways = Counter(one.way for one in came)
    kinds = sorted({one.kind for one in came})
    latencies = {
        kind: [round(1000 * float(q)) for q in np.percentile(found, (50, 95, 99))]
        for kind in kinds
        if (found := [one.seconds for one in came if one.kind == kind and one.good])
    }
    return {
        "answered": round(sum(one.good for one in came) / max(1, len(came)), 4),
        "ways": {way: round(number / len(came), 4) for way, number in sorted(ways.items())},
        "p50_p95_p99_ms": latencies,
    }
