"""One experiment: a gallery, who asks it, and what each query is asked, at one σ. It may be cut short."""

from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.certified_recall import Conditions, QueryResult, ask, report
from evaluation.kept import Kept
from evaluation.material import Laid, Material, Progress, folder_or_temporary, laid_out, silent
from evaluation.words import verdict
from service.errors import GalleryEmpty, Problem
from service.settings import Settings


@dataclass(frozen=True)
class Experiment:
    """A gallery and who asks it, and what each query is asked."""

    material: Material
    asked: Conditions


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
    material = experiment.material
    with (
        folder_or_temporary(folder) as place,
        laid_out(material, settings, place, progress) as laid,
    ):
        results, refused = _results(experiment, laid, place / "results.jsonl", progress)
        if not results:
            raise GalleryEmpty(f"no query could be decoded; the first: {next(iter(refused.items()), '')}")
        retriever = laid.retriever
        items = retriever.gallery.snapshot().items
        of_label = Counter(item.label for item in items)
        row_of = {query.id: query.row for query in laid.queries}
        alone = sum(of_label[one.label] <= (row_of[one.id] is not None) for one in results)
        found = report(material.name, retriever, len(items) - laid.one_less, results, experiment.asked)
        return found | {
            "asking": "each item, left out once" if laid.one_less else material.asking or "held-out images",
            "certified_wrong": {
                row: sum(one.radii[row] > 0 and not one.correct[row] for one in results)
                for row in experiment.asked.methods
            },
            "alone": alone,
            "refused": refused,
            "verdict": verdict(found["recall_at_1"]["smoothed"], "items" if laid.one_less else "queries"),
            "losses": retriever.losses["query"].statement,
            "warnings": laid.warnings,
        }


def _results(
    experiment: Experiment, laid: Laid, path: Path, progress: Progress
) -> tuple[list[QueryResult], dict[str, str]]:
    """What came of each query, and why the others could not be asked."""
    retriever, results, refused = laid.retriever, list[QueryResult](), dict[str, str]()
    with closing(Kept(path, laid.digest(asdict(experiment.asked)), QueryResult)) as kept:
        for query in progress(laid.queries, "evaluating"):
            try:  # also if it is kept: what all images lose is told in the end
                image = retriever.decode(query.read())
            except (OSError, Problem) as error:
                refused[query.id] = error.detail if isinstance(error, Problem) else str(error)
                continue
            result = kept[query.id]
            if result is None:
                result = ask(retriever, laid.snapshot(query), image, query.id, query.label, experiment.asked)
                kept.add(result)
            results.append(result)
    return results, refused
