"""Attacks on certified answers: none may succeed within the radius; how far beyond it the first one does."""

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from certify import Claim
from evaluation.adversary import Adversary, threads_for
from evaluation.kept import Kept
from evaluation.material import Laid, Material, Progress, folder_or_temporary, laid_out, silent
from index import Snapshot
from service.errors import Problem
from service.retrieval.adversary import Effort
from service.retrieval.contest import Outcome
from service.retriever import Retriever
from service.settings import Settings

# The search for the smallest perturbation: from the certified radius on, times GROWTH until one succeeds, but
# no further than FURTHEST radii; then back along the line to the image, HALVINGS times.
GROWTH, FURTHEST, HALVINGS = 1.5, 12.0, 6


@dataclass(frozen=True)
class AttackPlan:
    """What is attacked, and how.

    guarantees  each of them is attacked
    samples     behind the certificate, and behind every answer to a moved query
    alpha       of the certificates
    scale       the size of an attack in certified radii; or its `radius` in pixels of the input, if not None
    smallest    whether the smallest perturbation that changes an answer is looked for, too
    effort      of each attack
    """

    material: Material
    guarantees: tuple[Claim, ...] = ("label", "item")
    samples: int = 2_000
    alpha: float = 0.001
    scale: float = 0.999
    radius: float | None = None
    smallest: bool = False
    effort: Effort = field(default_factory=Effort)

    @property
    def asked(self) -> dict[str, Any]:
        """All but the material, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "material"}


@dataclass(frozen=True)
class Attacked:
    """One answer that was attacked: what was certified, how far the query was moved, and what came of it.

    `smallest`: the smallest perturbation found that changes the answer, if one was looked for and found.
    """

    id: str
    guarantee: Claim
    radius: float
    size: float
    changed: bool
    smallest: float | None = None

    @property
    def broken(self) -> bool:
        """Whether the certificate was wrong, or the one of a moved query within its radius."""
        return (self.changed and self.size < self.radius) or (
            self.smallest is not None and self.smallest < self.radius
        )


@dataclass(frozen=True)
class Counterexample:
    """Two inputs (C, H, W) within a certified radius of each other, with different answers."""

    facts: dict[str, Any]
    query: NDArray[np.float32]
    moved: NDArray[np.float32]


@dataclass(frozen=True)
class QueryAttacks:
    """What came of the attacks on one query, and the folders of those that succeeded within a radius."""

    id: str
    attacked: tuple[Attacked, ...]
    counterexamples: tuple[str, ...]

    @classmethod
    def read(cls, id: str, attacked: Iterable[dict[str, Any]], counterexamples: Iterable[str]) -> Self:
        """The same from its members in JSON."""
        return cls(id, tuple(Attacked(**one) for one in attacked), tuple(counterexamples))


def run(
    plan: AttackPlan,
    settings: Settings,
    counterexamples: Path,
    folder: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The report of the attacks; its `counterexamples`, which should be none, are folders in that folder.

    Moved queries are answered as the service would, with noise of their own. Queries that are certified to
    nothing, or whose answer nothing could change, are counted, and not attacked; those that cannot be decoded
    are neither. What is done is kept in `folder`, as by `evaluation.experiment.run`. Raises what
    `evaluation.material.laid_out` does, and `OtherExperiment`.
    """
    found: list[QueryAttacks] = []
    with (
        folder_or_temporary(folder) as place,
        laid_out(plan.material, settings, place, progress) as laid,
        threads_for(laid.retriever.model.input_shape),
        closing(Kept(place / "attacks.jsonl", laid.digest(plan.asked), QueryAttacks.read)) as kept,
    ):
        for number, query in enumerate(progress(laid.queries, "attacking")):
            done = kept[query.id]
            if done is None:
                try:
                    image = laid.retriever.decode(query.read())
                except (OSError, Problem):
                    continue
                attack = _Attack(plan, laid.retriever, laid.snapshot(query), image, number)
                outcomes = [attack.on(guarantee, query.id) for guarantee in plan.guarantees]
                done = QueryAttacks(
                    query.id,
                    tuple(one for one, _ in outcomes if one),
                    tuple(str(save(broken, counterexamples)) for _, broken in outcomes if broken),
                )
                kept.add(done)
            found.append(done)
        return report(plan, laid, found)


class _Attack:
    """That on one query."""

    def __init__(
        self,
        plan: AttackPlan,
        retriever: Retriever,
        snapshot: Snapshot,
        image: NDArray[np.float32],
        seed: int,
    ) -> None:
        self._plan, self._retriever, self._snapshot, self._image = plan, retriever, snapshot, image
        self._adversary = Adversary(retriever.model, snapshot, retriever.sigma, seed)
        self._samples = retriever.smoothed.first(image, plan.samples)
        self._answer = self._nearest(self._samples)

    def on(self, guarantee: Claim, id_: str) -> tuple[Attacked | None, Counterexample | None]:
        """What comes of attacking `guarantee`; nothing if nothing is certified, or nothing to be won."""
        plan = self._plan
        radius = self._outcome(guarantee, self._samples).certificate.radius
        if not 0 < radius < np.inf:
            return None, None
        aim = plan.scale * radius if plan.radius is None else plan.radius
        moved = self._perturbed(guarantee, aim)
        changed = self._changes(guarantee, moved)
        worst, smallest = (moved if changed else None), None
        if plan.smallest:
            found = self._smallest(guarantee, radius, moved, changed)
            if found is not None:
                worst, smallest = found, self._size(found)
        one = Attacked(id_, guarantee, radius, self._size(moved), changed, smallest)
        if not one.broken or worst is None:
            return one, None
        return one, Counterexample(self._facts(one, worst), self._image, worst)

    def _outcome(self, guarantee: Claim, samples: NDArray[np.float32]) -> Outcome:
        """What the service would say of `samples`."""
        plan = self._plan
        contest = self._retriever.contest(
            self._snapshot,
            alpha=plan.alpha,
            samples=plan.samples,
            horizon=plan.samples,
            guarantee=guarantee,
        )
        return contest.outcome(samples)

    def _smallest(
        self, guarantee: Claim, radius: float, moved: NDArray[np.float32], changed: bool
    ) -> NDArray[np.float32] | None:
        """The nearest input found that has another answer; None if there is none within FURTHEST radii."""
        reach = max(radius, self._size(moved))
        while not changed:
            reach *= GROWTH
            if reach > FURTHEST * radius:
                return None
            delta = moved - self._image
            moved = self._perturbed(guarantee, reach, delta * np.float32(GROWTH))
            changed = self._changes(guarantee, moved)
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            if self._changes(guarantee, self._towards(moved, share)):
                high = share
            else:
                low = share
        return self._towards(moved, high)

    def _perturbed(
        self, guarantee: Claim, radius: float, start: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        effort = self._plan.effort
        return self._adversary.perturb(self._image, self._answer, guarantee, radius, effort, start)

    def _towards(self, moved: NDArray[np.float32], share: float) -> NDArray[np.float32]:
        """So much of the way to `moved`."""
        between: NDArray[np.float32] = self._image + np.float32(share) * (moved - self._image)
        return between.clip(0, 1)

    def _changes(self, guarantee: Claim, moved: NDArray[np.float32]) -> bool:
        """Whether the answer to `moved` breaks the guarantee."""
        answer = self._nearest(self._retriever.smoothed.first(moved, self._plan.samples))
        labels = self._snapshot.labels
        if guarantee == "item":
            return answer != self._answer
        return bool(labels[answer] != labels[self._answer])

    def _nearest(self, samples: NDArray[np.float32]) -> int:
        return int(self._snapshot.nearest(self._snapshot.lift(samples).mean(axis=0), 1).rows[0])

    def _size(self, moved: NDArray[np.float32]) -> float:
        return float(np.linalg.norm((moved.astype(np.float64) - self._image).ravel()))

    def _facts(self, one: Attacked, moved: NDArray[np.float32]) -> dict[str, Any]:
        """All that tells this success from chance, and lets one repeat it."""
        retriever, snapshot, plan = self._retriever, self._snapshot, self._plan
        there = self._outcome(one.guarantee, retriever.smoothed.first(moved, plan.samples))
        return asdict(one) | {
            "moved_by": self._size(moved),
            "answer": asdict(snapshot.items[self._answer]),
            "answer_moved": asdict(snapshot.items[int(there.neighbors.rows[0])]),
            "radius_moved": there.certificate.radius,
            "model": retriever.model.manifest.name,
            "model_digest": retriever.smoothed.digest,
            "gallery_digest": snapshot.digest,
            "label_weight": retriever.settings.label_weight,
            "sigma": retriever.sigma,
            "samples": plan.samples,
            "alpha": plan.alpha,
        }


def report(plan: AttackPlan, laid: Laid, found: Sequence[QueryAttacks]) -> dict[str, Any]:
    """What came of all attacks, as JSON: for each guarantee how many, and every one of them."""
    retriever, attacked = laid.retriever, [one for query in found for one in query.attacked]
    return {
        "data": plan.material.name,
        "model": retriever.model.manifest.name,
        "model_digest": retriever.smoothed.digest,
        "sigma": retriever.sigma,
        "label_weight": retriever.settings.label_weight,
        "queries": len(found),
        "samples": plan.samples,
        "alpha": plan.alpha,
        "scale": plan.scale if plan.radius is None else None,
        "radius": plan.radius,
        "effort": asdict(plan.effort),
        "guarantees": {
            guarantee: _summary([one for one in attacked if one.guarantee == guarantee])
            for guarantee in plan.guarantees
        },
        "counterexamples": [place for query in found for place in query.counterexamples],
        "details": [asdict(one) for one in attacked],
    }


def _summary(found: Sequence[Attacked]) -> dict[str, Any]:
    """How many were attacked and changed, and how far beyond the radius the smallest perturbations are."""
    ratios = sorted(one.smallest / one.radius for one in found if one.smallest is not None)
    return {
        "attacked": len(found),
        "changed": sum(one.changed for one in found),
        "broken": sum(one.broken for one in found),
        "mean_radius": round(float(np.mean([one.radius for one in found])), 4) if found else None,
        "smallest_found": len(ratios),
        "smallest_over_radius": {
            name: round(float(np.quantile(ratios, share)), 3)
            for name, share in (("least", 0.0), ("median", 0.5), ("most", 1.0))
        }
        if ratios
        else None,
    }


def save(counterexample: Counterexample, folder: Path) -> Path:
    """Write a counterexample into a new folder in `folder`, and return that.

    `query.json` and `moved.json` are bodies of POST /retrieve, exact to the last bit; `facts.json` says what
    was certified, and of what.
    """
    facts = counterexample.facts
    number = 1
    while (place := folder / f"{facts['guarantee']}-{number:03d}").exists():
        number += 1
    place.mkdir(parents=True)
    (place / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    for name, pixels in (("query", counterexample.query), ("moved", counterexample.moved)):
        (place / f"{name}.json").write_text(json.dumps({"pixels": pixels.tolist()}) + "\n")
    return place
