"""The commands of research: evaluate certificates, attack them. (`train` is in `retrievalguard.training`.)

They need the extra `research` (pytorch-metric-learning, matplotlib), which serving does not.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from retrievalguard import interrupts, preflight

if TYPE_CHECKING:
    from models.datasets import ImageSet, Part
    from service.settings import Settings

app = typer.Typer()
console = Console(stderr=True, soft_wrap=True)


@app.command()
def evaluate(
    data: Annotated[str | None, typer.Option(help="The data set; default: digits.")] = None,
    gallery: Annotated[
        bool,
        typer.Option("--gallery", help="Your own gallery: each item is the query of the gallery without it."),
    ] = False,
    queries: Annotated[int, typer.Option(min=1, help="Held-out images, or items, to query with.")] = 60,
    samples: Annotated[int, typer.Option(min=2, help="Monte Carlo samples a query.")] = 10_000,
    alpha: Annotated[float, typer.Option(help="Confidence 1 - alpha of each certificate.")] = 0.001,
    method: Annotated[
        list[str], typer.Option(help="A method of rule embedding, or `vote`; may be given several times.")
    ] = ["cdf"],  # noqa: B006
    target_radius: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Ask only whether this radius holds, and count the samples it takes."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot here: .png, .svg or .pdf.")] = None,
) -> None:
    """Certified Recall@1 of held-out queries, the same samples for every method."""
    if json_file:
        preflight.check_output(json_file, "--json")
    if plot:
        preflight.check_output(plot, "--plot", preflight.PLOTS)
    if gallery and data:
        raise typer.BadParameter("--gallery is about your own images: leave out --data")
    data = data or "digits"
    settings = _settings()
    _dataset(data)
    with _extra():
        from evaluation import certified_recall, leave_one_out
        from evaluation.workbench import workbench

        if plot:
            from evaluation import plot as plots
    interrupts.raise_again()

    unknown = [name for name in method if name not in certified_recall.ROWS]
    if unknown:
        raise typer.BadParameter(
            f"unknown method {unknown[0]!r}; there is: {', '.join(certified_recall.ROWS)}"
        )
    methods = tuple(name for name in certified_recall.ROWS if name in method)
    asked = certified_recall.Conditions(methods, samples, alpha, target_radius)

    def progress(rows: Iterable[int]) -> Iterable[int]:
        return track(list(rows), "evaluating", console=console)

    if gallery:
        report = leave_one_out.leave_one_out(
            settings,
            asked,
            queries=queries,
            embedding=lambda ids: track(list(ids), "embedding", console=console),
            progress=progress,
        )
    else:
        with workbench(data, settings) as retriever:
            report = certified_recall.evaluate(data, retriever, asked, queries=queries, progress=progress)
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if plot:
        plots.save_plot(report, plot)
    recall = report["recall_at_1"]
    print(f"{report['queries']} queries, gallery {report['gallery']}, {samples} samples, alpha {alpha:g}")
    print("Recall@1: " + ", ".join(f"{rule} {share}" for rule, share in recall.items()))
    header = "  ".join(f"{radius:<5}" for radius in certified_recall.RADII)
    print(f"method    mean radius   certified Recall@1 at {header}   mean samples")
    for name, row in report["methods"].items():
        shares = "  ".join(f"{share:.3f}" for share in row["certified_recall"].values())
        print(f"{name:9} {row['mean_radius']:.4f}{'':33}{shares}   {row['mean_samples']:g}")
    if gallery:
        _print_fit(report)


def _print_fit(report: dict[str, Any]) -> None:
    """What the table of one's own gallery means."""
    for name, wrong in report["certified_wrong"].items():
        print(f"{name}: {wrong} of {report['queries']} answers are wrong and certified")
    if report["alone"]:
        print(f"{report['alone']} queries are the only item of their label: they cannot be answered right")
    for id_, reason in report["refused"].items():
        print(f"not asked: {id_}: {reason}")
    if report["losses"]:
        print(report["losses"])
    print(report["verdict"])


@app.command()
def attack(
    data: Annotated[str, typer.Option(help="The data set: digits.")] = "digits",
    queries: Annotated[int, typer.Option(min=1)] = 50,
    scale: Annotated[float, typer.Option(min=0, help="Size of the attack, in certified radii.")] = 0.999,
    samples: Annotated[int, typer.Option(min=2)] = 2_000,
) -> None:
    """Attack held-out queries with the exact gradient, and print how many labels changed, as JSON."""
    settings = _settings()
    _dataset(data)

    from evaluation.attack import attack as run
    from evaluation.workbench import workbench

    interrupts.raise_again()
    with workbench(data, settings) as retriever:
        report = run(
            data,
            retriever,
            queries=queries,
            scale=scale,
            samples=samples,
            progress=lambda rows: track(list(rows), "attacking", console=console),
        )
    print(json.dumps(report))


def _settings() -> "Settings":
    """Those of the environment, and a process that is ours."""
    from service.settings import Settings

    settings = Settings.from_environment()
    preflight.check_model(settings.model)

    from service.process import own_process

    own_process()
    return settings


def _dataset(name: str) -> "Callable[[Part], ImageSet]":
    from models.datasets import DATASETS

    if name not in DATASETS:
        raise typer.BadParameter(f"unknown data set {name!r}; there is: {', '.join(DATASETS)}")
    return DATASETS[name]


@contextmanager
def _extra() -> Iterator[None]:
    """Tell what to install when a library of the extra `research` is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f"{error.name} is not installed: pip install 'retrievalguard[research]'"
        ) from error
