"""What a radius means in pixels: a query, and perturbations of that l2 norm.

`python -m evaluation.perturbation OUTPUT.png`
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evaluation.adversary import Adversary
from evaluation.picture import show
from evaluation.workbench import held_out, workbench
from service.process import own_process
from service.retrieval.adversary import Effort
from service.settings import Settings

EXAMPLE, RADIUS = "digits-0060", 0.4


def main(output: Path) -> None:
    """Draw the example query, moved by RADIUS at random, by an attack, in one pixel and in all."""
    own_process()
    queries = held_out("digits", 10**6)
    image = queries.tensors[queries.ids.index(EXAMPLE)]
    with workbench("digits", Settings.from_environment()) as retriever:
        answer = retriever.retrieve(image)
        snapshot = retriever.gallery.snapshot()
        (row,) = [row for row, item in enumerate(snapshot.items) if item.id == answer.neighbor.id]
        adversary = Adversary(retriever.model, snapshot, retriever.sigma)
        attacked = adversary.perturb(image, row, "label", RADIUS, Effort())
    radius = answer.certificate.radius
    if radius < RADIUS:
        raise SystemExit(f"{EXAMPLE} is certified to {radius} only: choose another example")
    single, all_ = np.zeros_like(image), np.ones_like(image)
    single[np.unravel_index(image.argmax(), image.shape)] = -1
    panels: list[tuple[str, NDArray[np.floating]]] = [
        (f"query {EXAMPLE}\ncertified to {radius:.3f}", image),
        ("noise of l2 norm 0.4", _moved(image, np.random.default_rng(0).standard_normal(image.shape))),
        ("the worst that a\ngradient attack finds", attacked),
        ("one pixel", _moved(image, single)),
        ("all pixels", _moved(image, all_)),
    ]
    figure = Figure(figsize=(9.6, 2.4), layout="constrained")
    for axes, (title, pixels) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        show(axes, pixels, title)
    figure.savefig(output, dpi=110)


def _moved(image: NDArray[np.float32], direction: NDArray[np.floating]) -> NDArray[np.floating]:
    return image + direction * (RADIUS / np.linalg.norm(direction))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
