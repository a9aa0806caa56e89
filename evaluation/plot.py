"""Certified Recall@1 against the radius, one curve a method."""

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
