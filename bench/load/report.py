"""What loads showed: figures, tables, and latency against the rate at which requests come."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.load.asking import Came
from bench.load.loads import Load

PERCENTILES = (50, 95, 99)


def latencies(came: Iterable[Came]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds of those that were answered; nothing if none was."""
    times = [1000 * one.seconds for one in came if one.good]
    if not times:
        return {}
    return {
        f"p{p}_ms": round(float(value), 1)
        for p, value in zip(PERCENTILES, np.percentile(times, PERCENTILES), strict=True)
    }


def figures(load: Load) -> dict[str, Any]:
    """The figures of a load, of each kind of request."""
    kinds = sorted({one.kind for one in load.came})
    return {
        "offered": load.offered,
        "goodput": round(load.goodput, 2),
        "failures": sum(one.wrong is not None for one in load.all),
        "spent": load.spent,
        "kinds": {kind: _kind([one for one in load.came if one.kind == kind]) for kind in kinds},
        "came_back": came_back([load]),
    }


def _kind(came: Sequence[Came]) -> dict[str, Any]:
    counts = {
        "answered": sum(one.good for one in came),
        "refused": sum(one.wait is not None for one in came),
        "failures": sum(one.wrong is not None for one in came),
    }
    return counts | latencies(came)


def came_back(loads: Iterable[Load]) -> dict[str, Any]:
    """How many came back when they had been told to, and which share of them got in; None if nobody did."""
    returned = [one for load in loads for one in load.returned]
    share = round(sum(one.good for one in returned) / len(returned), 3) if returned else None
    return {"count": len(returned), "share_got_in": share}


def probed(came: Mapping[str, Sequence[Came]]) -> dict[str, Any]:
    """Of each route that was probed: how often, failures, and how long it took."""
    return {
        path: {"count": len(found), "failures": sum(not one.good for one in found)} | latencies(found)
        for path, found in came.items()
    }


def show(report: Mapping[str, Any], loads: Sequence[Load]) -> None:
    """The figures as a table, and what was wrong."""
    table = Table(title=f"capacity {report['capacity_per_second']} cold queries a second")
    for column in ("load", "kind", "answered", "refused", "failed", "good/s", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(column, justify="left" if column in ("load", "kind") else "right")
    for name, of in report["loads"].items():
        for kind, figures in of["kinds"].items():
            counts = (figures[count] for count in ("answered", "refused", "failures"))
            times = (figures.get(f"p{p}_ms", "") for p in PERCENTILES)
            table.add_row(name, kind, *map(str, (*counts, of["goodput"], *times)))
            name = ""
    for path, figures in report["probes"].items():
        times = (figures.get(f"p{p}_ms", "") for p in PERCENTILES)
        table.add_row(
            "throughout", path, str(figures["count"]), "", str(figures["failures"]), "", *map(str, times)
        )
    Console(width=120).print(table)
    for load in loads:
        for text, count in Counter(one.wrong for one in load.all if one.wrong).most_common(3):
            print(f"{load.name}: {count} x {text}")


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Latency, and goodput, against the rate at which requests come, both over capacity."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    shares = [float(name) for name in report["open_loads"]]
    loads = [report["loads"][name] for name in report["open_loads"].values()]
    for p, colour in zip(PERCENTILES, ("#56b4e9", "#0072b2", "#d55e00"), strict=True):
        times = [load["kinds"]["cold"].get(f"p{p}_ms", np.nan) / 1000 for load in loads]
        left.plot(shares, times, marker="o", color=colour, label=f"p{p}")
    left.set(ylabel="seconds until answered", ylim=(0, None))
    left.legend(frameon=False)
    capacity = report["capacity_per_second"]
    right.plot(shares, [load["goodput"] / capacity for load in loads], marker="o", color="#0072b2")
    right.set(ylabel="answers a second, over capacity", ylim=(0, None))
    for axes in (left, right):
        axes.set_xlabel("queries a second, over capacity")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
