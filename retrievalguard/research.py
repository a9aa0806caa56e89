"""The commands of research: train a model, evaluate certificates, attack them.

They need the extra `research` (pytorch-metric-learning, matplotlib), which serving does not.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, track

from retrievalguard import interrupts, preflight

if TYPE_CHECKING:
    from models import training
    from models.datasets import ImageSet, Part
    from service.settings import Settings

app = typer.Typer()
console = Console(stderr=True, soft_wrap=True)

Thing = TypeVar("Thing")


class BackboneChoice(StrEnum):
    """The networks that can be trained."""

    CONVOLUTIONAL = "convolutional"
    SMALL = "small"


class LossChoice(StrEnum):
    """What can be minimised."""

    ARCFACE = "arcface"
    MARGIN = "margin"


class DeviceChoice(StrEnum):
    """Where a training can compute."""

    CPU = "cpu"
    CUDA = "cuda"


@app.command()
def train(
    data: Annotated[str, typer.Option(help="The data set: digits or emoji.")],
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, in [0,1] pixels.", min=1e-6)],
    output: Annotated[Path, typer.Option(help="The folder for weights and manifest.")] = Path("model"),
    backbone: Annotated[
        BackboneChoice | None,
        typer.Option(help="The network; default: convolutional for digits, else small."),
    ] = None,
    loss: Annotated[
        LossChoice, typer.Option(help="ArcFace, or the margin loss of the paper.")
    ] = LossChoice.ARCFACE,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: of the recipe.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="Train for so long, in place of a number of epochs.")
    ] = None,
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Hold images out, keep the best weights for them, end early."),
    ] = False,
    device: Annotated[DeviceChoice, typer.Option(help="Where to compute.")] = DeviceChoice.CPU,
    name: Annotated[str | None, typer.Option(help="The model's name; default: of the folder.")] = None,
) -> None:
    """Train an embedding network; the same command gives the same weights on a CPU, unless --minutes.

    A training that is cut short goes on where it stood when the same command is given again.
    """
    preflight.check_output_folder(output, "--output")
    if epochs is not None and minutes is not None:
        raise typer.BadParameter("--epochs or --minutes, not both")
    images = _dataset(data)
    with _extra():
        from models import training
    interrupts.raise_again()

    if backbone is None:
        backbone = BackboneChoice.CONVOLUTIONAL if data == "digits" else BackboneChoice.SMALL
    recipe = training.small(sigma) if backbone is BackboneChoice.SMALL else training.Recipe(sigma)
    if loss is LossChoice.MARGIN:
        recipe = training.margin_of_the_paper(recipe)
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    command = f"retrievalguard train --data {data} --sigma {sigma!r}"
    if (backbone is BackboneChoice.SMALL) == (data == "digits"):
        command += f" --backbone {backbone}"
    command += f" --loss {loss}" if loss is not LossChoice.ARCFACE else ""
    command += f" --epochs {epochs}" if epochs is not None else ""
    command += f" --minutes {minutes!r}" if minutes is not None else ""
    command += " --validate" if validate else ""
    command += f" --device {device}" if device is not DeviceChoice.CPU else ""
    seen, held_out = training.split(images("train")) if validate else (images("train"), None)
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=1.0, told="")

        def show(epoch: "training.Epoch") -> None:
            told = f"epoch {epoch.number}, loss {epoch.loss:.3f}"
            if epoch.score is not None:
                told += f", held out: recall {epoch.score.recall:.3f}, radius {epoch.score.radius:.3f}"
            bar.update(task, completed=epoch.share, told=told)

        model = training.train(
            seen,
            recipe,
            output,
            name=name or output.resolve().name,
            command=command,
            validation=held_out,
            minutes=minutes,
            device=device.value,
            progress=show,
        )
    console.print(f"{output}: {model.manifest.digest()}")


@app.command()
def evaluate(
    data: Annotated[
        str | None,
        typer.Option(help="A data set, a folder per label, or a table of path,label; default: digits."),
    ] = None,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="Your own gallery, in the data folder, in place of --data.")
    ] = False,
    query_data: Annotated[
        str | None,
        typer.Option(
            help="Images to ask with, as --data. Default: the held-out ones of a data set; else each item is"
            " asked for, and left out meanwhile."
        ),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Ask so many, evenly spread over what there is.")] = 60,
    model: Annotated[
        str | None, typer.Option(help="A model folder, or a name; default: RETRIEVALGUARD_MODEL.")
    ] = None,
    sigma: Annotated[
        list[float] | None,
        typer.Option(
            help="The noise; may be given several times. Default: RETRIEVALGUARD_SIGMA, or the model's."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Monte Carlo samples a query.")] = 10_000,
    alpha: Annotated[float, typer.Option(help="Confidence 1 - alpha of each certificate.")] = 0.001,
    method: Annotated[
        list[str], typer.Option(help="A method of rule embedding, or `vote`; may be given several times.")
    ] = ["cdf"],  # noqa: B006
    target_radius: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Ask only whether this radius holds, and count the samples it takes."),
    ] = None,
    radius: Annotated[
        float, typer.Option(min=0, help="Recommend the sigma that is best at this one.")
    ] = 0.25,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write the report here; a run that is cut short goes on when given again."
        ),
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Write a table here: .md.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot here: .png, .svg or .pdf.")] = None,
) -> None:
    """Certified Recall@1, the same samples for every method."""
    if json_file:
        preflight.check_output(json_file, "--json")
    if table:
        preflight.check_output(table, "--table", (".md",))
    if plot:
        preflight.check_output(plot, "--plot", preflight.PLOTS)
    if gallery and data:
        raise typer.BadParameter("--gallery is about your own images: leave out --data")
    settings = _settings(model)
    data = None if gallery else data or "digits"
    for option, origin in (("--data", data), ("--query-data", query_data)):
        _origin(option, origin)
    with _extra():
        from evaluation import certified_recall, experiment, words

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
    wanted = experiment.Experiment(data, query_data, queries, asked)
    # Beside the report, for as long as there is none.
    state = json_file and json_file.with_name(f"{json_file.name}.unfinished")
    reports = []
    sigmas: list[float | None] = [*dict.fromkeys(sigma)] if sigma else [settings.sigma]
    for one in sigmas:
        folder = state and state / f"sigma-{one or 'default'}"
        reports.append(experiment.run(wanted, _with_sigma(settings, one), folder, _shown))
    if json_file and state:
        report = reports[0] if len(reports) == 1 else {"reports": reports, "radius": radius}
        json_file.write_text(json.dumps(report, indent=1) + "\n")
        shutil.rmtree(state)
    if table:
        table.write_text(words.table(reports))
    if plot:
        plots.save_plot(reports, plot)
    for report in reports:
        _print_table(report)
    if len(reports) > 1:
        print(words.recommendation(reports, radius))


def _with_sigma(settings: "Settings", sigma: float | None) -> "Settings":
    return (
        settings if sigma is None else type(settings).model_validate(settings.model_dump() | {"sigma": sigma})
    )


def _shown(things: Iterable[Thing], what: str) -> Iterable[Thing]:
    return track(list(things), what, console=console)


def _print_table(report: dict[str, Any]) -> None:
    """One report: how many were right, and certified to which radius."""
    print(
        f"{report['queries']} queries, gallery {report['gallery']}, {report['samples']} samples,"
        f" alpha {report['alpha']:g}, sigma {report['sigma']:g}"
    )
    recall = report["recall_at_1"]
    print("Recall@1: " + ", ".join(f"{rule} {share}" for rule, share in recall.items()))
    radii = next(iter(report["methods"].values()))["certified_recall"]
    print(
        f"method    mean radius   certified Recall@1 at {'  '.join(f'{r:<5}' for r in radii)}   mean samples"
    )
    for name, row in report["methods"].items():
        shares = "  ".join(f"{share:.3f}" for share in row["certified_recall"].values())
        print(f"{name:9} {row['mean_radius']:.4f}{'':33}{shares}   {row['mean_samples']:g}")
    for name, wrong in report["certified_wrong"].items():
        print(f"{name}: {wrong} of {report['queries']} answers are wrong and certified")
    if report["alone"]:
        print(f"{report['alone']} queries have a label that no item has: they cannot be answered right")
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


def _settings(model: str | None = None) -> "Settings":
    """Those of the environment, with another `model` if one is given, and a process that is ours."""
    from service.settings import Settings

    settings = Settings.from_environment()
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    preflight.check_model(settings.model)

    from service.process import own_process

    own_process()
    return settings


def _dataset(name: str) -> "Callable[[Part], ImageSet]":
    from models.datasets import DATASETS

    if name not in DATASETS:
        raise typer.BadParameter(f"unknown data set {name!r}; there is: {', '.join(DATASETS)}")
    return DATASETS[name]


def _origin(option: str, origin: str | None) -> None:
    """Refuse what is neither a data set nor there: the readers say the rest."""
    from models.datasets import DATASETS

    if origin is not None and origin not in DATASETS and not Path(origin).exists():
        raise typer.BadParameter(
            f"{option}: {origin!r} is neither a folder or table nor a data set: {', '.join(DATASETS)}"
        )


@contextmanager
def _extra() -> Iterator[None]:
    """Tell what to install when a library of the extra `research` is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f"{error.name} is not installed: pip install 'retrievalguard[research]'"
        ) from error
