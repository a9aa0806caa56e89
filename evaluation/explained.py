"""Whether the rival that `explain` names is the one that wins: `python -m evaluation.explained REPORT.json`.

Certified answers are attacked outside of their radius, farther and farther, until another label answers. The
attack climbs towards whichever item gets ahead; it is not told which one was named.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from evaluation.adversary import Adversary, threads_for
from evaluation.workbench import held_out, workbench
from models.noise import on_grid
from service.process import own_process
from service.retrieval.adversary import Effort
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings

ANSWERS = 100
MODELS = {"digits": "digits-cnn", "emoji": "emoji-small"}
# Times the radius, one after the other; how hard an attack tries, and the samples that tell who answers.
SCALES = (1.25, 1.5, 2.0, 3.0, 4.0)
EFFORT, SAMPLES = Effort(restarts=1, steps=8, draws=16), 1_024


def explained(data: str, retriever: Retriever, count: int) -> Iterator[dict[str, Any]]:
    """Of up to `count` certified answers to held-out queries of `data`: how many changed, and to whom."""
    queries = held_out(data, 10**6)
    inputs = queries.inputs(retriever.model.input_shape)
    snapshot = retriever.gallery.snapshot()
    rows = {item.id: row for row, item in enumerate(snapshot.items)}
    options = RetrieveOptions(explain=True, max_samples=SAMPLES)
    counts: Counter[str] = Counter()
    for row in np.random.default_rng(0).permutation(len(queries)).tolist():
        if counts["answers"] == count:
            break
        answer = retriever.retrieve(inputs[row], options)
        if answer.certificate.radius == 0 or answer.explanation is None or answer.explanation.rival is None:
            continue
        counts["answers"] += 1
        for scale in SCALES:
            adversary = Adversary(retriever.model, snapshot, retriever.sigma, row)
            moved = adversary.perturb(
                inputs[row], rows[answer.neighbor.id], "label", scale * answer.certificate.radius, EFFORT
            )
            mean = retriever.smoothed.first(on_grid(moved, retriever.sigma), SAMPLES).mean(axis=0)
            winner = snapshot.items[snapshot.nearest(snapshot.lift(mean[None])[0], 1).rows[0]]
            if winner.label != answer.neighbor.label:
                counts["changed"] += 1
                counts["to the label that was named"] += winner.label == answer.explanation.rival.label
                counts["to one of the labels that were named"] += winner.label in [
                    rival.label for rival in answer.explanation.rivals
                ]
                counts["to the item that was named"] += winner.id == answer.explanation.rival.id
                break
        changed = max(counts["changed"], 1)
        yield dict(counts) | {
            "share": round(counts["to the label that was named"] / changed, 3),
            "share of all named": round(counts["to one of the labels that were named"] / changed, 3),
        }


def main(output: Path) -> None:
    """Save the counts for each model, after each answer; print them at the end."""
    own_process()
    reports: dict[str, Any] = {}
    for data, model in MODELS.items():
        settings = Settings.from_environment().model_copy(update={"model": model})
        with workbench(data, settings) as retriever, threads_for(retriever.model.input_shape):
            for reports[model] in track(explained(data, retriever, ANSWERS), data, ANSWERS):
                output.write_text(json.dumps(reports, indent=1) + "\n")
        print(json.dumps(reports[model]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
