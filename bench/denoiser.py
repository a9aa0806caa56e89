"""A denoiser in front of a network that never saw noise: `make bench BENCH=denoiser`.

On digits, or `python -m bench.denoiser --data emoji`. Three models answer the same queries: a network trained
without noise; the same behind a denoiser; and, for comparison, one of the same kind trained with the noise.
Each is embedded, run and certified as a service does it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from pydantic import SecretStr
from rich.progress import track

from bench.results import save
from certify import Rule
from models import EmbeddingModel
from models.datasets import ImageSet, digits, emoji
from models.training import Recipe, denoising, small, train
from service.gallery.training_set import as_findings
from service.images import png
from service.process import own_process
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings

QUERIES, SIDE, SIGMA, SAMPLES, ALPHA = 100, 32, 0.25, 1_000, 0.001
GALLERY_SAMPLES = 64
# What a network trained without noise is trained with: next to none.
NO_NOISE = 0.001
COMMAND = "make bench BENCH=denoiser"
RULES: tuple[Rule, ...] = get_args(Rule)


def chosen(data: ImageSet, labels: set[str]) -> ImageSet:
    """The images of `labels`, `SIDE` pixels a side."""
    found = data.take([row for row, label in enumerate(data.labels) if label in labels])
    inputs = found.inputs((3, SIDE, SIDE))
    return replace(found, pixels=np.rint(255 * inputs).astype(np.uint8))


def asked(model: Path, gallery: ImageSet, queries: ImageSet) -> dict[str, float]:
    """Recall@1 and mean certified radius (0 where the label is wrong) of both rules."""
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        settings = Settings(
            data_dir=Path(folder),
            model=str(model),
            sigma=SIGMA,
            secret=SecretStr("a secret of the benchmark"),
            gallery_samples=GALLERY_SAMPLES,
            redis_url=None,
        )
        retriever = Retriever.open(settings)
        try:
            retriever.intake.add(as_findings(gallery))
            found: dict[Rule, list[tuple[bool, float]]] = {rule: [] for rule in RULES}
            files = list(zip(queries.pixels, queries.labels, strict=True))
            for pixels, label in track(files, f"certifying {model.name}"):
                for rule in RULES:
                    options = RetrieveOptions(rule=rule, max_samples=SAMPLES, min_gain=0.0, alpha=ALPHA)
                    answer = retriever.retrieve(png(pixels), options)
                    right = answer.neighbor.label == label
                    found[rule].append((right, answer.certificate.radius if right else 0.0))
        finally:
            retriever.close()
    report: dict[str, float] = {}
    for rule, pairs in found.items():
        right, radii = np.array(pairs).T
        report |= {f"{rule}_recall_at_1": round(float(right.mean()), 3)}
        report |= {f"{rule}_mean_radius": round(float(radii.mean()), 4)}
    return report


def clean_recall(model: EmbeddingModel, gallery: ImageSet, queries: ImageSet) -> float:
    """Recall@1 of the network itself, without any noise."""
    vectors, found = model(gallery.tensors), model(queries.tensors)
    nearest = np.linalg.norm(found[:, None] - vectors[None], axis=2).argmin(axis=1)
    return round(float(np.mean(np.array(gallery.labels)[nearest] == queries.labels)), 3)


@dataclass(frozen=True)
class Comparison:
    """What is trained on, searched and asked, and how a network is trained, but for its noise."""

    training: ImageSet
    gallery: ImageSet
    queries: ImageSet
    recipe: Recipe


def on_digits(epochs: int) -> Comparison:
    """Digits of the demo, the small convolutional network."""
    queries = digits("query").take(range(QUERIES))
    return Comparison(digits("train"), digits("gallery"), queries, Recipe(SIGMA, epochs=epochs))


def on_emoji(epochs: int) -> Comparison:
    """Emoji of some labels at 32 pixels; Twitter's ask, whose drawings are nowhere else."""
    everything, asking = emoji("train"), emoji("query")
    labels = set(sorted(set(everything.labels) & set(asking.labels))[::12][:QUERIES])
    gallery = chosen(everything, labels)
    recipe = replace(small(SIGMA, SIDE), epochs=epochs, batch=64, learning_rate=3e-3, averaging=0.99)
    return Comparison(gallery, gallery, chosen(asking, labels), recipe)


def trained(folder: Path, experiment: Comparison) -> Iterator[tuple[str, float]]:
    """Train the three into `folder`; the name and the minutes of a core of each."""

    def timed(name: str, recipe: Recipe, given: EmbeddingModel | None = None) -> tuple[str, float]:
        started = time.process_time()
        train(experiment.training, recipe, folder / name, name=name, command=COMMAND, given=given)
        return name, round((time.process_time() - started) / 60, 2)

    yield timed("without-noise", replace(experiment.recipe, sigma=NO_NOISE))
    backbone = EmbeddingModel.load(folder / "without-noise")
    yield timed("denoised", denoising(SIGMA, len(experiment.training)), backbone)
    yield timed("with-noise", experiment.recipe)


def main() -> None:
    """Print what was compared and, as the last line, its JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("digits", "emoji"), default="digits")
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    own_process()
    experiment = (on_digits if given.data == "digits" else on_emoji)(given.epochs)
    report: dict[str, object] = {
        "labels": len(set(experiment.gallery.labels)), "gallery": len(experiment.gallery),
        "queries": len(experiment.queries), "sigma": SIGMA, "samples": SAMPLES, "alpha": ALPHA,
        "epochs": given.epochs,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as temporary:
        folder = Path(temporary)
        for name, minutes in trained(folder, experiment):
            row = {"core_minutes": minutes}
            model = EmbeddingModel.load(folder / name)
            row["clean_recall_at_1"] = clean_recall(model, experiment.gallery, experiment.queries)
            row |= asked(folder / name, experiment.gallery, experiment.queries)
            report[name] = row
            print(name, row, flush=True)
            save(f"denoiser-{given.data}", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
