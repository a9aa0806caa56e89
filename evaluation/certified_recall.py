"""Certified Recall@1: the share of held-out queries whose right answer is certified to a radius."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from certify import ANYTIME, METHODS, Method, Rule, horizon_for, rounds, settled
from index import Snapshot
from service.retrieval.contest import Outcome
from service.retriever import Retriever

RADII = (0.1, 0.25, 0.5)

# A row of the table: a method of rule `embedding`, or rule `vote`, which has one method.
Row = Method | Literal["vote"]
ROWS: tuple[Row, ...] = (*METHODS, "vote")


@dataclass(frozen=True)
class QueryResult:
    """One query: who answers with its label, and the radius and number of samples of each row.

    `correct` has the keys `base`, `embedding` and those of the rows, which answer from the samples they used.
    A radius is what was certified, right or wrong.
    """

    id: str
    label: str
    correct: dict[str, bool]
    radii: dict[Row, float]
    samples: dict[Row, int]

    def counted(self, row: Row) -> float:
        """The radius, 0 for a wrong answer."""
        return self.radii[row] if self.correct[row] else 0.0


@dataclass(frozen=True)
class Conditions:
    """What every query is asked: rows of the table, samples, `alpha`, and the radius to stop at, if any."""

    methods: tuple[Row, ...]
    samples: int
    alpha: float
    target: float | None = None


def report(
    data: str, retriever: Retriever, size: int, results: Sequence[QueryResult], asked: Conditions
) -> dict[str, Any]:
    """The table of certified Recall@1 (label guarantee) of `results` from galleries of `size` items, as JSON.

    All rows see the same samples, each at the full `alpha`: they compare certificates, they are not one
    answer. A wrong answer counts with radius 0, whatever was certified. With a `target` radius, each row
    stops when it is certified or looks out of reach; `paper` and `bisector`, which hold for one number of
    samples, use all.
    """
    rules = {"base": "base", "smoothed": "embedding"} | ({"vote": "vote"} if "vote" in asked.methods else {})
    return (
        {
            "data": data,
            "model": retriever.model.manifest.name,
            "model_digest": retriever.smoothed.digest,
            "queries": len(results),
            "gallery": size,
            "label_weight": retriever.settings.label_weight,
            "samples": asked.samples,
            "sigma": retriever.sigma,
            "alpha": asked.alpha,
        }
        | ({} if asked.target is None else {"target_radius": asked.target})
        | {
            "recall_at_1": {name: _share(r.correct[rule] for r in results) for name, rule in rules.items()},
            "methods": {method: summary(results, method) for method in asked.methods},
            "details": [
                {"id": r.id, "label": r.label, "radii": {m: r.counted(m) for m in asked.methods}}
                for r in results
            ],
        }
    )


def ask(
    retriever: Retriever,
    snapshot: Snapshot,
    image: NDArray[np.float32],
    id_: str,
    label: str,
    asked: Conditions,
) -> QueryResult:
    """One query: the input tensor `image` (C, H, W) that should be answered with `label`."""
    samples, alpha, target = asked.samples, asked.alpha, asked.target
    drawn = retriever.smoothed.first(image, samples)

    def right(found: int) -> bool:
        return snapshot.items[found].label == label

    def outcome(method: Row) -> Outcome:
        rule: Rule = "vote" if method == "vote" else "embedding"
        bound: Method = "cdf" if method == "vote" else method
        aim = target if bound in ANYTIME else None
        contest = retriever.contest(
            snapshot,
            alpha=alpha,
            samples=samples,
            horizon=samples if target is None else horizon_for(samples, target),
            rule=rule,
            method=bound,
            target=aim,
        )
        for count in rounds(samples) if aim else (samples,):
            found = contest.outcome(drawn[:count])
            if settled(found.certificate):
                break
        return found

    base = retriever.smoothed.embed(image)[None]
    nearest = snapshot.nearest(snapshot.lift(drawn).mean(axis=0), 1)
    correct = {
        "base": right(int(snapshot.nearest(snapshot.lift(base)[0], 1).rows[0])),
        "embedding": right(int(nearest.rows[0])),
    }
    outcomes = {method: outcome(method) for method in asked.methods}
    correct |= {method: right(int(found.neighbors.rows[0])) for method, found in outcomes.items()}
    return QueryResult(
        id_,
        label,
        correct,
        {method: found.certificate.label_radius for method, found in outcomes.items()},
        {method: found.certificate.samples for method, found in outcomes.items()},
    )


def summary(results: Sequence[QueryResult], method: Row) -> dict[str, Any]:
    """One row of the table: mean radius and certified Recall@1 at RADII, wrong answers counted as 0."""
    radii = np.array([result.counted(method) for result in results])
    return {
        "mean_radius": round(float(radii.mean()), 4),
        "certified_recall": {str(radius): _share(radii >= radius) for radius in RADII},
        "abstained": sum(result.radii[method] == 0 for result in results),
        "mean_samples": round(float(np.mean([result.samples[method] for result in results])), 1),
    }


def _share(flags: Iterable[bool]) -> float:
    return round(float(np.mean(list(flags))), 4)
