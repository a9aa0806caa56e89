"""Why rule `vote` certifies more than `embedding`: `python -m evaluation.gap REPORT.json [QUERIES]`.

Of the same samples: what is certified, and what bound (1) of docs/certificate.md would give if their
distribution were the true one, but for a share 1/(n + 1) at the lower end of every margin. Such estimates
claim nothing. They are made for margins of

embedding  E h, as they are certified
half       E h, if no margin could fall half as far as is proven: what the lower end costs
vote       votes of the noisy copies for the label of their nearest item
soft τ     E of softmax over labels of -d²/τ, d the distance of a copy from the nearest item of a label: a
           rule between the two, the vote for small τ
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import softmax

from certify import EmbeddingSpace, Rivals, Rule, Terms
from certify.neyman_pearson import quantile, shifted
from certify.payoffs import LARGEST
from certify.selection import selection_size
from evaluation.workbench import held_out, workbench
from index import Snapshot
from service.process import own_process
from service.retrieval.contest import Contest, vectors_of
from service.settings import Settings

MODEL, SIGMA, QUERIES, SAMPLES, ALPHA = "emoji-small", 0.25, 30, 2_048, 0.001
TEMPERATURES = (0.01, 0.03, 0.1, 0.3)
# Rivals that are looked at closely: those whose mean margin is least in units of its deviation.
CLOSEST = 64
# Of the interval in which a radius is sought.
HALVINGS = 20
RULES: tuple[Rule, ...] = ("embedding", "vote")

Array = NDArray[np.float64]


class Gap:
    """The radii of one gallery's queries, and who answers with the right label."""

    def __init__(self, snapshot: Snapshot, space: EmbeddingSpace, sigma: float) -> None:
        self.snapshot, self.space, self.sigma = snapshot, space, sigma
        self._vectors = vectors_of(snapshot)
        order = np.argsort(snapshot.labels, kind="stable")
        self._ordered = snapshot.exact(order).astype(np.float32)
        self._starts = np.searchsorted(snapshot.labels[order], np.arange(len(snapshot.label_names)))
        # Of each query: the radius of every estimate, 0 if it answers wrongly.
        self.found: list[dict[str, float]] = []

    def add(self, samples: NDArray[np.float32], label: str) -> None:
        """A query with these `samples` (n, d), and the label that it should be answered with."""
        truth = self.snapshot.label_names.index(label)
        radii: dict[str, float] = {}
        for rule in RULES:
            terms = Terms(self.sigma, ALPHA, horizon=len(samples))
            outcome = Contest(self.snapshot, self._vectors, self.space, rule, terms, top_k=1).outcome(samples)
            right = self.snapshot.labels[outcome.neighbors.rows[0]] == truth
            radii[f"{rule}: certified"] = outcome.certificate.label_radius * bool(right)
            radii[f"{rule}: right"] = float(right)
        points = self.snapshot.lift(samples)
        margins, lower = self._margins(points)
        right = bool(radii["embedding: right"])
        radii["embedding: known"] = right * self._radius(margins, lower)
        radii["half: known"] = right * self._radius(margins, np.minimum(margins.min(axis=1), lower / 2))
        distances = self._distances(points)
        nearest = distances.argmin(axis=1)
        for name, scores in [
            ("vote", np.eye(distances.shape[1])[nearest]),
            *((f"soft {each}", softmax(-distances / each, axis=1)) for each in TEMPERATURES),
        ]:
            means = scores.mean(axis=0)
            closest = np.argsort(-means)[: CLOSEST + 1]
            margins = (scores[:, closest[:1]] - scores[:, closest[1:]]).T
            right = closest[0] == truth
            radii[f"{name}: right"] = float(right)
            radii[f"{name}: known"] = right * self._radius(margins, -np.ones(len(margins)))
        self.found.append(radii)

    def _margins(self, points: Array) -> tuple[Array, Array]:
        """The margins (K, n) over the closest rivals at all `points`, and their lower ends (K,)."""
        selection = points[: selection_size(len(points))]
        centre = selection.mean(axis=0)
        label = int(self.snapshot.labels[self.snapshot.nearest(centre, 1).rows[0]])
        mates = self.snapshot.labels == label
        everything = np.arange(len(mates))
        rivals = Rivals.of(
            self.snapshot.exact(everything[mates]), self.snapshot.exact(everything[~mates]), centre
        )
        pairs, _, _ = rivals.divided(selection, self.space)
        seen = pairs.weights @ selection.T - pairs.offsets[:, None]
        close = pairs.of(np.argsort(seen.mean(axis=1) / seen.std(axis=1))[:CLOSEST])
        return close.weights @ points.T - close.offsets[:, None], close.lower

    def _distances(self, points: Array) -> Array:
        """Squared distances (n, labels) of `points` from the nearest item of each label."""
        singles = points.astype(np.float32)
        halves = (self._ordered**2).sum(axis=1) / 2
        products = np.maximum.reduceat(singles @ self._ordered.T - halves, self._starts, axis=1)
        found: Array = (singles**2).sum(axis=1)[:, None] - 2 * products.astype(np.float64)
        return found

    def _radius(self, margins: Array, lower: Array) -> float:
        """The smallest radius of `margins` (K, n) if nothing but these, and a little at `lower`, can be."""
        n = margins.shape[1]
        steps = np.diff(np.sort(margins, axis=1), prepend=lower[:, None], axis=1)
        quantiles = quantile(np.arange(n, 0, -1) / (n + 1))
        low, high = 0.0, LARGEST
        for _ in range(HALVINGS):
            rho = (low + high) / 2
            kept = (lower + steps @ shifted(quantiles, rho)).min() > 0
            low, high = (rho, high) if kept else (low, rho)
        return self.sigma * low

    def report(self) -> dict[str, Any]:
        """Means over all queries."""
        names = list(self.found[0])
        return {
            "queries": len(self.found),
            "gallery": len(self.snapshot),
            "sigma": self.sigma,
            "alpha": ALPHA,
            "mean": {name: round(float(np.mean([each[name] for each in self.found])), 4) for name in names},
        }


def main(output: Path, queries: int) -> None:
    """Print and save the means over `queries` held-out emoji."""
    own_process()
    settings = Settings.from_environment().model_copy(update={"model": MODEL, "sigma": SIGMA})
    images = held_out("emoji", queries)
    with workbench("emoji", settings) as retriever:
        gap = Gap(retriever.gallery.snapshot(), retriever.space, SIGMA)
        inputs = images.inputs(retriever.model.input_shape)
        for image, label in track(list(zip(inputs, images.labels, strict=True)), "comparing"):
            gap.add(retriever.smoothed.first(image, SAMPLES), label)
    output.write_text(json.dumps(gap.report(), indent=1) + "\n")
    print(json.dumps(gap.report()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else QUERIES)
