"""Certified Recall@1 against the radius, one curve a method; and attacks against the radius."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# One colour a method in every picture of the project, told apart without colour by the dashes.
STYLES = {
    "paper": ("#7f7f7f", (0, (1, 1.5))),
    "bisector": ("#e69f00", (0, (3, 1.5))),
    "mean": ("#56b4e9", (0, (6, 2))),
    "cdf": ("#0072b2", "solid"),
    "vote": ("#009e73", (0, (6, 1.5, 1, 1.5))),
}


def draw_curves(axes: Axes, report: dict[str, Any]) -> None:
    """Draw the curves of a report of `certified_recall.report`."""
    for method in report["methods"]:
        radii = np.sort([query["radii"][method] for query in report["details"]])
        share = 1 - np.arange(len(radii)) / len(radii)
        colour, dashes = STYLES[method]
        axes.step([0, *radii], [1, *share], where="pre", color=colour, linestyle=dashes, label=method)
    axes.set(
        xlabel="radius (ℓ2 over [0,1] pixels)", ylabel="certified Recall@1", xlim=(0, None), ylim=(0, 1.02)
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def save_plot(reports: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a plot to `path`, a panel for each report; its suffix names the format."""
    figure = Figure(figsize=(5.5 * len(reports), 3.6), layout="constrained")
    panels = figure.subplots(1, len(reports), squeeze=False, sharex=True, sharey=True)[0]
    for axes, report in zip(panels, reports, strict=True):
        draw_curves(axes, report)
        axes.set_title(
            f"{report['data']}: {report['queries']} queries, {report['samples']} samples,"
            f" σ = {report['sigma']:g}, α = {report['alpha']:g}",
            fontsize=9,
        )
    figure.savefig(path, dpi=150)


def save_distances(report: dict[str, Any], path: Path) -> None:
    """Write a plot of a report of `evaluation.attack` to `path`: what was found against what is certified.

    A panel for each guarantee, a point for each answer, and the line on which no point may be, nor below it.
    """
    guarantees = list(report["guarantees"])
    figure = Figure(figsize=(4.6 * len(guarantees), 4), layout="constrained")
    panels = figure.subplots(1, len(guarantees), squeeze=False)[0]
    for axes, guarantee in zip(panels, guarantees, strict=True):
        found = [
            (one["radius"], one["smallest"])
            for one in report["details"]
            if one["guarantee"] == guarantee and one["smallest"] is not None
        ]
        radii, smallest = np.array(found).reshape(-1, 2).T
        end = 1.05 * max([*radii, *smallest, 0.1])
        axes.fill_between([0, end], [0, end], color="#d9d9d9", linewidth=0)
        axes.plot([0, end], [0, end], color="#7f7f7f", linewidth=1)
        axes.scatter(radii, smallest, s=12, color=STYLES["cdf"][0], linewidth=0, alpha=0.7)
        axes.set(
            xlabel="certified radius R (ℓ2 over [0,1] pixels)",
            ylabel="smallest perturbation found",
            xlim=(0, 1.1 * max([*radii, 0.05])),
            ylim=(0, end),
        )
        axes.set_title(
            f"{report['data']}, {guarantee}: {len(found)} answers, σ = {report['sigma']:g}", fontsize=9
        )
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
