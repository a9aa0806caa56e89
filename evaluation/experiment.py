"""One experiment: a gallery, who asks it, and what each query is asked, at one σ. It may be cut short."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import evaluation
from evaluation.certified_recall import Conditions, QueryResult, ask, report
from evaluation.kept import Kept
from evaluation.queries import (
    QueryImage,
    is_data_set,
    left_out,
    of_gallery,
    of_published,
    of_source,
    without,
)
from evaluation.words import verdict
from evaluation.workbench import opened, own_gallery
from models.code import code_digest
from service.errors import GalleryEmpty, Problem
from service.gallery.findings import ImportFailure
from service.gallery.sources import published, sources
from service.retrieval.repeats import CODE
from service.retriever import Retriever
from service.settings import Settings

Thing = TypeVar("Thing")


class Progress(Protocol):
    """Shows how far a loop is: `things`, one by one, and what is done with them."""

    def __call__(self, things: Iterable[Thing], what: str) -> Iterable[Thing]:
        """The same things."""


def silent(things: Iterable[Thing], what: str) -> Iterable[Thing]:
    """Shows nothing."""
    return things


@dataclass(frozen=True)
class Experiment:
    """What is evaluated.

    gallery  what `gallery add` reads; of a data set its gallery part. None: the gallery in the data folder
    asking   what asks: another such source. None: the queries of a data set, else each item of the gallery;
             who is in the gallery is answered without itself
    queries  at most so many, evenly spread
    root     where the published data set lies that `gallery` names; None: it names none
    """

    gallery: str | None
    asking: str | None
    queries: int
    asked: Conditions
    root: Path | None = None


def run(
    experiment: Experiment, settings: Settings, folder: Path | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """The report of `certified_recall.report`, with what one has to know of a gallery of one's own.

    Further members: `asking`; `certified_wrong`, how many answers of each row were wrong and certified to a
    radius above 0; `alone`, how many queries have a label that no item has, and cannot be answered right;
    `refused`, queries that cannot be decoded, each with the reason; `verdict`, in words; `losses` of the
    queries, as the service tells them, or None; `warnings` about the gallery.

    What is done is kept in `folder`: cut short and run again, it goes on there, to the very same report.
    None: in a folder that is gone afterwards. Raises `GalleryEmpty`, `ImportFailure`, `DataSetError`,
    and `OtherExperiment` if `folder` holds another one.
    """
    with (
        _folder(folder) as place,
        _retriever(experiment, settings, place, progress) as (retriever, warnings),
    ):
        queries = _queries(experiment, retriever)
        results, refused = _results(experiment, retriever, queries, place / "results.jsonl", progress)
        if not results:
            raise GalleryEmpty(f"no query could be decoded; the first: {next(iter(refused.items()), '')}")
        items = retriever.gallery.snapshot().items
        of_label = Counter(item.label for item in items)
        row_of = {query.id: query.row for query in queries}
        alone = sum(of_label[one.label] <= (row_of[one.id] is not None) for one in results)
        one_less = any(query.row is not None for query in queries)
        name = "gallery" if experiment.gallery is None else experiment.gallery
        found = report(name, retriever, len(items) - one_less, results, experiment.asked)
        return found | {
            "asking": "each item, left out once" if one_less else experiment.asking or "held-out images",
            "certified_wrong": {
                row: sum(one.radii[row] > 0 and not one.correct[row] for one in results)
                for row in experiment.asked.methods
            },
            "alone": alone,
            "refused": refused,
            "verdict": verdict(found["recall_at_1"]["smoothed"], "items" if one_less else "queries"),
            "losses": retriever.losses["query"].statement,
            "warnings": warnings,
        }


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


@contextmanager
def _retriever(
    experiment: Experiment, settings: Settings, place: Path, progress: Progress
) -> Iterator[tuple[Retriever, list[str]]]:
    """A retriever with the gallery of the experiment, filled, and warnings about that.

    What is there already is not embedded again.
    """
    if experiment.gallery is None:
        with own_gallery(settings, place, lambda ids: progress(ids, "embedding")) as retriever:
            yield retriever, []
        return
    if experiment.root is None:
        found = sources(experiment.gallery)
    else:
        found = published(experiment.gallery, experiment.root, "gallery")
    with opened(settings, place) as retriever:
        added = retriever.intake.add(
            found, replace=True, prune=True, progress=lambda items: progress(items, "embedding")
        )
        if added.refused:
            first = f"{added.refused[0].place}: {added.refused[0].reason}"
            raise ImportFailure(
                f"{experiment.gallery}: {len(added.refused)} refused; mend or remove what is,"
                f" so that the figures are those of all of it; the first: {first}"
            )
        yield retriever, list(added.warnings)


def _queries(experiment: Experiment, retriever: Retriever) -> list[QueryImage]:
    if experiment.asking is not None:
        return of_source(experiment.asking, experiment.queries)
    if experiment.gallery is not None and experiment.root is not None:
        queries = of_published(experiment.gallery, experiment.root, experiment.queries)
        return left_out(queries, retriever.gallery)
    if experiment.gallery is not None and is_data_set(experiment.gallery):
        return left_out(of_source(experiment.gallery, experiment.queries), retriever.gallery)
    return of_gallery(retriever.gallery, experiment.queries)


def _results(
    experiment: Experiment, retriever: Retriever, queries: list[QueryImage], path: Path, progress: Progress
) -> tuple[list[QueryResult], dict[str, str]]:
    """What came of each query, and why the others could not be asked."""
    whole, (items, vectors) = retriever.gallery.snapshot(), retriever.gallery.plain()
    settings, results, refused = retriever.settings, list[QueryResult](), dict[str, str]()
    with closing(Kept(path, _digest(experiment, retriever, queries))) as kept:
        for query in progress(queries, "evaluating"):
            try:  # also if it is kept: what all images lose is told in the end
                image = retriever.decode(query.read())
            except (OSError, Problem) as error:
                refused[query.id] = error.detail if isinstance(error, Problem) else str(error)
                continue
            result = kept[query.id]
            if result is None:
                snapshot = whole
                if query.row is not None:
                    snapshot = without(
                        items, vectors, query.row, retriever.model.dimension, settings.label_weight
                    )
                result = ask(retriever, snapshot, image, query.id, query.label, experiment.asked)
                kept.add(result)
            results.append(result)
    return results, refused


def _digest(experiment: Experiment, retriever: Retriever, queries: list[QueryImage]) -> str:
    """Of all that decides a result; the noise of experiments is always the same."""
    decides = {
        "code": CODE.hex() + code_digest(evaluation).hex(),
        "model": retriever.smoothed.digest,
        "sigma": retriever.sigma,
        "gallery": retriever.gallery.snapshot().digest,
        "queries": [(query.id, query.label, query.row) for query in queries],
        "asked": asdict(experiment.asked),
        "max_comparisons": retriever.settings.max_comparisons,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
