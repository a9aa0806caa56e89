"""`make bench BENCH=simulation`: 10⁸ items and 1,000 queries a second, on paper; a minute or two of a core.

How many machines, how long answers take at other rates, what fails when something does, and what costs what.
Seeded: the same figures each time. The last line is their JSON; the plot goes beside it.
"""

import json
from dataclasses import asdict, replace
from typing import Any

from rich.progress import track

from bench.results import RESULTS, save
from bench.simulation.cluster import Machines
from bench.simulation.faults import FAULTS
from bench.simulation.questions import SHARES
from bench.simulation.report import by_second, plot
from bench.simulation.sizing import Demand, Fault, busy, cost, figures, needed, plan_for, run, shards
from bench.simulation.times import CROWDED, Prices, Times, measured, slope, stops

ITEMS, RATE = 100_000_000, 1_000.0
REDIS_BYTES = 64 * 2**30
OF_RATE = (0.25, 0.5, 0.75, 1.0, 1.2, 1.4, 1.6)
# Of a run, from one change of the gallery to the next once it has settled; of one in which something fails.
SECONDS, SECONDS_WITH_FAULT = 15.0, 30.0


def main() -> None:
    """Print the figures, keep them and the plot."""
    times, load = measured(), Demand(RATE, stops())
    drawn = Machines(ITEMS, 0, 0, shards(times, ITEMS), 2, 0, REDIS_BYTES)
    need = needed(drawn, times, load, SECONDS, seed=0)
    plan = plan_for(drawn, need, spare=True)
    report: dict[str, Any] = {
        "items": ITEMS,
        "rate": RATE,
        "shares": SHARES,
        "times": asdict(times),
        "plan": asdict(plan),
        "dollars_an_hour": rounded(cost(plan, Prices())),
        "dollars_for_1000_answers": for_1000(plan, RATE),
    }
    report["curve"] = [
        point(plan, times, replace(load, rate=share * RATE)) for share in track(OF_RATE, "rates")
    ]
    bare = plan_for(drawn, need, spare=False)
    report["without_spare_cores"] = {
        "cores_a_copy": bare.shard_cores,
        "dollars_for_1000_answers": for_1000(bare, RATE),
    }
    faults = [(name, plan, fault) for name, fault in FAULTS.items()]
    faults.append(("one copy of a shard, no spare cores", bare, FAULTS["one copy of a shard"]))
    report["faults"] = {name: failing(of, times, load, fault) for name, of, fault in track(faults, "faults")}
    report["otherwise"] = {
        name: sized(other, with_times, load)
        for name, (other, with_times) in track(otherwise(drawn, times).items(), "otherwise")
    }
    save("simulation", report)
    plot(report, RESULTS / "simulation.png")
    print(json.dumps(report))


def point(plan: Machines, times: Times, load: Demand) -> dict[str, Any]:
    """A rate of questions, and what comes of it."""
    found = run(plan, times, load, SECONDS, seed=1)
    return {"rate": load.rate, "busy": busy(plan, found.asked), **figures(found.steady())}


def failing(plan: Machines, times: Times, load: Demand, fault: Fault) -> dict[str, Any]:
    """A run in which something fails: its figures as a whole, and second by second."""
    found = run(plan, times, load, SECONDS_WITH_FAULT, seed=2, fault=fault)
    return {**figures(found.steady()), "seconds": by_second(found.came)}


def otherwise(plan: Machines, times: Times) -> dict[str, tuple[Machines, Times]]:
    """What one would have to plan for if something were not as it is assumed to be."""
    return {
        "as planned": (plan, times),
        "the gallery never changes": (replace(plan, changed_every=float("inf")), times),
        "it changes every second": (replace(plan, changed_every=1.0), times),
        "without Redis": (replace(plan, redis_bytes=0.0, changed_every=1e-9), times),
        "a million items": (replace(plan, items=ITEMS // 100, shards=1), times),
        "many items are near": (plan, replace(times, far=slope(CROWDED))),
    }


def sized(plan: Machines, times: Times, load: Demand) -> dict[str, Any]:
    """The machines for it, and what an answer costs then."""
    plan = replace(plan, shards=shards(times, plan.items))
    with_spare = plan_for(plan, needed(plan, times, load, SECONDS, seed=0), spare=True)
    return {
        "gpus": with_spare.gpus,
        "cores": with_spare.cores,
        "shards": with_spare.shards,
        "cores_a_copy": with_spare.shard_cores,
        "dollars_for_1000_answers": for_1000(with_spare, load.rate),
    }


def for_1000(plan: Machines, rate: float) -> float:
    """Dollars for 1,000 answers at so many a second."""
    return round(1_000 * sum(cost(plan, Prices()).values()) / (3_600 * rate), 4)


def rounded(dollars: dict[str, float]) -> dict[str, float]:
    """To whole ones."""
    return {name: round(value) for name, value in dollars.items()}


if __name__ == "__main__":
    main()
