"""The README's picture: a query, its neighbour, its radius, and what radii mean for the whole test set.

`python -m evaluation.picture REPORT.json OUTPUT.png`, REPORT from `retrievalguard evaluate`.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from evaluation.plot import draw_curves
from evaluation.workbench import held_out, workbench
from service.process import own_process
from service.settings import Settings

MODEL, DATA, EXAMPLE = "emoji-small", "emoji", "emoji-twemoji-panda"


def main(report: Path, output: Path) -> None:
    """Draw the example query with the service's own answer, beside the curves of `report`."""
    own_process()
    queries = held_out(DATA, 10**6)
    image = queries.tensors[queries.ids.index(EXAMPLE)]
    settings = Settings.from_environment().model_copy(update={"model": MODEL})
    with workbench(DATA, settings) as retriever:
        answer = retriever.retrieve(image)
        stored, _ = retriever.gallery.store.image(answer.neighbor.id)
    neighbor = np.asarray(Image.open(io.BytesIO(stored)), dtype=np.float32).transpose(2, 0, 1) / 255
    certificate = answer.certificate
    direction = np.random.default_rng(0).standard_normal(image.shape)
    moved = image + direction * (certificate.radius / np.linalg.norm(direction))

    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1.4, 1))
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    panels = left.subplots(1, 3)
    show(panels[0], image, "query, by a designer\nwhom nobody knew")
    show(
        panels[1],
        neighbor,
        f"nearest neighbour,\nlabel “{answer.neighbor.label}”",
    )
    show(panels[2], moved, f"moved at random by\n‖δ‖₂ = {certificate.radius:.3f}")
    left.suptitle(
        f"no perturbation with ‖δ‖₂ < {certificate.radius:.3f} can change the label of the answer\n"
        f"(α = {certificate.alpha:g}, {certificate.samples} samples, σ = {certificate.sigma:g})",
        fontsize=9.5,
    )
    axes = right.subplots()
    loaded = json.loads(report.read_text())
    draw_curves(axes, loaded)
    axes.set_title(f"{loaded['queries']} held-out emoji, {loaded['samples']} samples", fontsize=9)
    figure.savefig(output, dpi=130)


def show(axes: Axes, pixels: NDArray[np.floating], title: str) -> None:
    """Draw `pixels` (C, H, W) in [0, 1], grey or RGB, without axes."""
    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).clip(0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=8.5)
    axes.set_axis_off()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
