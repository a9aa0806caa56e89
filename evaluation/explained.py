"""Whether the rival that `explain` names is the one that wins: `python -m evaluation.explained REPORT.json`.

Each certified answer is attacked towards one rival label after another, and towards all of them at once: the
winner is whoever answers at the smallest change found. So no rival wins because an attack happened to begin
its way, and none for being named: rivals are also taken by nearness. Beside the name that `explain` gives
the nearest rival is counted, the name that needs no thought.

A run that was cut short goes on: what is done is kept beside the report, in a folder with its name and
`.kept`. `--data emoji` is that alone, `--answers 30` are fewer. The attacks take nearly all of the time, 2 s
of a core an answer for digits; they work on a GPU where there is one, for which nothing is to be set.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from evaluation.adversary import Adversary, threads_for
from evaluation.kept import Kept
from evaluation.smallest_change import smallest_change
from evaluation.workbench import held_out, workbench
from models import SmoothedMargin
from models.code import meaning_digest
from models.noise import on_grid
from service.process import own_process
from service.retrieval.answer import RetrieveResponse
from service.retrieval.options import RetrieveOptions
from service.retrieval.repeats import CODE
from service.retriever import Retriever
from service.settings import Settings

ANSWERS = 100
MODELS = {"digits": "digits-cnn", "emoji": "emoji-small"}
# Rival labels that are attacked, besides those that are named: so many that are nearest, all nine of digits.
NEAREST = 9
# Noise at each step of an attack, coarse ones and fine ones; samples behind each answer.
COARSE, FINE, SAMPLES = 32, 256, 1_024
# Rivals are attacked again that may win by fine noise: so many, at most so many times as far as the first.
AGAIN, FARTHER = 4, 1.35
# The search goes no further than so many times the radius. A change that was found by other noise than that
# which answers is made longer until the answer changes, by these factors.
FURTHEST, LONGER = 8.0, (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5)
# The modules here that decide a result.
ATTACKS = ("explained.py", "smallest_change.py", "adversary.py")


@dataclass(frozen=True)
class Explained:
    """One certified answer; who was named and who won, as `[label, id]`, None if nobody did.

    named    those of `explain`, its likeliest first
    nearest  of the nearest rival
    winner   at the smallest change found, of l2 norm `size`
    """

    id: str
    radius: float
    named: list[list[str]]
    nearest: list[str]
    winner: list[str] | None
    size: float | None


class Rivalry:
    """Answers of one retriever, attacked."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever, self._snapshot = retriever, retriever.gallery.snapshot()
        self._rows = {item.id: row for row, item in enumerate(self._snapshot.items)}

    def explained(self, id_: str, image: NDArray[np.float32], seed: int) -> Explained | None:
        """What comes of the answer to `image` (C, H, W); None if it is not certified, or has no rival."""
        options = RetrieveOptions(explain=True, max_samples=SAMPLES)
        answer = self._retriever.retrieve(image, options)
        if answer.certificate.radius == 0 or answer.explanation is None or answer.explanation.rival is None:
            return None
        named = [[rival.label, rival.id] for rival in answer.explanation.rivals]
        snapshot, answering = self._snapshot, self._rows[answer.neighbor.id]
        order = snapshot.nearest_of_others(self._mean(image), len(snapshot), snapshot.label(answering)).rows
        nearest = list(dict.fromkeys(snapshot.labels[order].tolist()))[:NEAREST]
        labels = [snapshot.label(self._rows[item]) for _, item in named]
        moved = self._moved(image, answer, list(dict.fromkeys([*nearest, *labels])), seed)
        first = snapshot.items[order[0]]
        radius = answer.certificate.radius
        if moved is None:
            return Explained(id_, radius, named, [first.label, first.id], None, None)
        winner = snapshot.items[snapshot.nearest(self._mean(moved), 1).rows[0]]
        size = float(np.linalg.norm(moved.astype(np.float64) - image))
        return Explained(id_, radius, named, [first.label, first.id], [winner.label, winner.id], size)

    def _moved(
        self, image: NDArray[np.float32], answer: RetrieveResponse, labels: Sequence[int], seed: int
    ) -> NDArray[np.float32] | None:
        """The nearest input found that another label answers."""
        radius, answering = answer.certificate.radius, self._rows[answer.neighbor.id]
        adversary = Adversary(self._retriever.model, self._snapshot, self._retriever.sigma, seed)
        most, coarse = FURTHEST * radius, list[tuple[float, SmoothedMargin, NDArray[np.float64]]]()
        for label in (None, *labels):
            margin = adversary.towards(answering, label)
            found = smallest_change(margin, image, radius, most, COARSE)
            if found is not None:
                coarse.append((float(np.linalg.norm(found)), margin, found))
                most = min(most, FARTHER * coarse[-1][0])
        most, best = FURTHEST * radius, None
        for length, margin, start in sorted(coarse, key=lambda one: one[0])[:AGAIN]:
            if length > FARTHER * min(one[0] for one in coarse):
                break
            found = smallest_change(margin, image, radius, most, FINE, start)
            if found is not None:
                most, best = float(np.linalg.norm(found)), found
        if best is None:
            return None
        for factor in LONGER:
            moved: NDArray[np.float32] = (image + factor * best).clip(0, 1).astype(np.float32)
            row = int(self._snapshot.nearest(self._mean(moved), 1).rows[0])
            if self._snapshot.label(row) != self._snapshot.label(answering):
                return moved
        return None

    def _mean(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        retriever = self._retriever
        samples = retriever.smoothed.first(on_grid(image, retriever.sigma), SAMPLES)
        mean: NDArray[np.float64] = self._snapshot.lift(samples).mean(axis=0)
        return mean


def trials(data: str, retriever: Retriever, kept: Kept[Explained], count: int) -> Iterator[list[Explained]]:
    """Up to `count` certified answers to held-out queries of `data`: all so far, after each."""
    queries, rivalry, found = held_out(data, 10**6), Rivalry(retriever), list[Explained]()
    inputs = queries.inputs(retriever.model.input_shape)
    for row in np.random.default_rng(0).permutation(len(queries)).tolist():
        if len(found) == count:
            return
        one = kept[queries.ids[row]] or rivalry.explained(queries.ids[row], inputs[row], row)
        if one is not None:
            if kept[one.id] is None:
                kept.add(one)
            found.append(one)
            yield found


def report(found: Sequence[Explained]) -> dict[str, Any]:
    """How often who was named is who won."""
    won = [(one, one.winner) for one in found if one.winner is not None]

    def share(right: Callable[[Explained, list[str]], bool]) -> float | None:
        return round(sum(right(one, winner) for one, winner in won) / len(won), 3) if won else None

    sizes = [one.size / one.radius for one in found if one.size is not None]
    return {
        "answers": len(found),
        "changed": len(won),
        "smallest over radius, median": round(float(np.median(sizes)), 3) if sizes else None,
        "to the label that is named": share(lambda one, winner: winner[0] == one.named[0][0]),
        "to one of the labels that are named": share(
            lambda one, winner: winner[0] in [label for label, _ in one.named]
        ),
        "to the item that is named": share(lambda one, winner: winner == one.named[0]),
        "to the label that is nearest": share(lambda one, winner: winner[0] == one.nearest[0]),
        "to the item that is nearest": share(lambda one, winner: winner == one.nearest),
    }


def main(output: Path, sets: Sequence[str], answers: int) -> None:
    """Save the counts for each model of the data `sets`, after each answer; print them at the end."""
    own_process()
    reports: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    for data in sets:
        place = output.with_suffix(".kept") / data / "answers.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        settings = Settings.from_environment().model_copy(update={"model": MODELS[data]})
        with (
            workbench(data, settings) as retriever,
            threads_for(retriever.model.input_shape),
            closing(Kept(place, _experiment(retriever), Explained)) as kept,
        ):
            for found in track(trials(data, retriever, kept, answers), data, answers):
                reports[MODELS[data]] = report(found)
                output.write_text(json.dumps(reports, indent=1) + "\n")
        print(json.dumps(reports[MODELS[data]]))


def _experiment(retriever: Retriever) -> str:
    """All that decides a result."""
    attacks = meaning_digest(Path(__file__).parent, ATTACKS)
    return " ".join([CODE.hex(), attacks, retriever.smoothed.digest, retriever.gallery.snapshot().digest])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", choices=MODELS, action="append", help="one of them; all without it")
    parser.add_argument("--answers", type=int, default=ANSWERS)
    asked = parser.parse_args()
    main(asked.output, asked.data or list(MODELS), asked.answers)
