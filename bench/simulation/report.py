"""What the simulation says, drawn: latency against load, and seconds in which something fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.simulation.cluster import Ended

KINDS = {"repeat": "#009e73", "yes-or-no": "#56b4e9", "default": "#0072b2", "long": "#d55e00"}
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7")


def by_second(came: Sequence[Ended]) -> dict[str, list[float]]:
    """Of the questions of each second, the share that was answered, and the p95 of their milliseconds."""
    last = int(max(one.at for one in came))
    found: dict[str, list[float]] = {"answered": [], "p95_ms": []}
    seconds: list[list[Ended]] = [[] for _ in range(last + 1)]
    for one in came:
        seconds[int(one.at)].append(one)
    for ones in seconds:
        good = [one.seconds for one in ones if one.good]
        found["answered"].append(round(len(good) / max(1, len(ones)), 4))
        found["p95_ms"].append(round(1000 * float(np.percentile(good, 95))) if good else 0)
    return found


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Latency against the rate, how busy machines are, and what share is answered while something fails."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    curve = report["curve"]
    rates = [point["rate"] for point in curve]
    for kind, colour in KINDS.items():
        p95 = [point["p50_p95_p99_ms"].get(kind, [np.nan] * 3)[1] / 1000 for point in curve]
        left.plot(rates, p95, marker="o", markersize=3, color=colour, label=kind)
    left.set(ylabel="p95, seconds", ylim=(0, None), xlabel="queries a second")
    for name, colour in zip(curve[0]["busy"], COLOURS, strict=False):
        middle.plot(
            rates,
            [point["busy"][name] for point in curve],
            marker="o",
            markersize=3,
            color=colour,
            label=name,
        )
    middle.plot(rates, [point["answered"] for point in curve], color="grey", linestyle="--", label="answered")
    middle.set(ylabel="share of their time that machines work", ylim=(0, 1.05), xlabel="queries a second")
    for (name, fault), colour in zip(report["faults"].items(), COLOURS, strict=True):
        right.plot(fault["seconds"]["answered"], color=colour, label=name)
    right.set(title="lost after 8 seconds", ylabel="share that is answered", ylim=(0, 1.05), xlabel="seconds")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
