"""Certified Recall@1: the share of held-out queries whose right answer is certified to a radius."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from certify import Method, certify
from evaluation.workbench import held_out, workbench
from models.noise import CHUNK
from models.smoothing import chunks
from service.contest import contest
from service.options import RetrieveOptions
from service.settings import Settings

RADII = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class QueryResult:
    """One query: whether base and smoothed model answer with its label, and the radius of each method."""

    id: str
    label: str
    base_correct: bool
    correct: bool
    radii: dict[Method, float]


def evaluate(
    data: str,
    settings: Settings,
    methods: Sequence[Method],
    *,
    queries: int,
    samples: int,
    alpha: float,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> dict[str, Any]:
    """The table of certified Recall@1 (label guarantee) on `queries` held-out images, as JSON.

    All methods see the same samples, each at the full `alpha`: the rows compare certificates, they are
    not one answer. A wrong answer counts with radius 0, whatever was certified.
    """
    images = held_out(data, queries)
    results = []
    with workbench(data, settings) as retriever:
        snapshot = retriever.gallery.snapshot()
        for row in progress(range(len(images))):
            image, label = images.tensors[row], images.labels[row]
            drawn = retriever.smoothed.sample(image, 0, chunks(samples))[:samples]
            neighbors, listings = contest(snapshot, drawn, RetrieveOptions(), settings.max_rivals)
            base = retriever.model(np.repeat(image[None], CHUNK, axis=0))[0].astype(np.float64)
            certificates = {
                method: certify(
                    drawn,
                    listings,
                    sigma=retriever.sigma,
                    alpha=alpha,
                    guarantee="label",
                    method=method,
                    space=retriever.space,
                )
                for method in methods
            }
            results.append(
                QueryResult(
                    images.ids[row],
                    label,
                    snapshot.items[snapshot.nearest(base, 1).rows[0]].label == label,
                    snapshot.items[neighbors.rows[0]].label == label,
                    {method: certificate.label_radius for method, certificate in certificates.items()},
                )
            )
        return {
            "data": data,
            "model": retriever.model.manifest.name,
            "model_digest": retriever.model.manifest.digest,
            "queries": len(results),
            "gallery": len(snapshot),
            "samples": samples,
            "sigma": retriever.sigma,
            "alpha": alpha,
            "recall_at_1": {
                "base": _share(result.base_correct for result in results),
                "smoothed": _share(result.correct for result in results),
            },
            "methods": {method: summary(results, method, samples) for method in methods},
            "details": [
                {"id": r.id, "label": r.label, "correct": r.correct, "radii": r.radii} for r in results
            ],
        }


def summary(results: Sequence[QueryResult], method: Method, samples: int) -> dict[str, Any]:
    """One row of the table: mean radius and certified Recall@1 at RADII, wrong answers counted as 0."""
    radii = np.array([result.radii[method] if result.correct else 0.0 for result in results])
    return {
        "mean_radius": round(float(radii.mean()), 4),
        "certified_recall": {str(radius): _share(radii >= radius) for radius in RADII},
        "abstained": sum(result.radii[method] == 0 for result in results),
        "mean_samples": samples,
    }


def _share(flags: Iterable[bool]) -> float:
    return round(float(np.mean(list(flags))), 4)
