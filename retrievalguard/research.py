"""The commands of research: evaluate certificates, attack them. (`train` is in `retrievalguard.training`.)

They need the extra `research` (pytorch-metric-learning, matplotlib), which serving does not.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import track

from retrievalguard import interrupts, preflight
from retrievalguard.opening import console
from retrievalguard.published import Root, check_published

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer()


class Guarantee(StrEnum):
    """What an attack can be after."""

    LABEL = "label"
    ITEM = "item"


Thing = TypeVar("Thing")


# What is asked of `evaluate` and `attack` alike.
Data = Annotated[
    str | None,
    typer.Option(help="A data set, a folder per label, or a table of path,label; default: digits."),
]
OwnGallery = Annotated[
    bool, typer.Option("--gallery", help="Your own gallery, in the data folder, in place of --data.")
]


@app.command()
def evaluate(
    data: Data = None,
    root: Root = None,
    gallery: OwnGallery = False,
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
    check_published(data, root)
    for option, origin in (("--data", None if root else data), ("--query-data", query_data)):
        _origin(option, origin)
    with _extra():
        from evaluation import certified_recall, experiment, words
        from evaluation.material import Material

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
    wanted = experiment.Experiment(Material(data, query_data, queries, root), asked)
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
    for warning in report["warnings"]:
        print(warning)
    print(report["verdict"])


@app.command()
def attack(
    data: Data = None,
    root: Root = None,
    gallery: OwnGallery = False,
    query_data: Annotated[str | None, typer.Option(help="Images to ask with, as of `evaluate`.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Attack so many, evenly spread.")] = 50,
    model: Annotated[
        str | None, typer.Option(help="A model folder, or a name; default: RETRIEVALGUARD_MODEL.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="The noise; default: RETRIEVALGUARD_SIGMA, or the model's.")
    ] = None,
    guarantee: Annotated[
        list[Guarantee], typer.Option(help="What the attack is to break; may be given twice.")
    ] = [Guarantee.LABEL, Guarantee.ITEM],  # noqa: B006
    scale: Annotated[float, typer.Option(min=0, help="Size of the attack, in certified radii.")] = 0.999,
    radius: Annotated[
        float | None, typer.Option(min=1e-6, help="Size of the attack in [0,1] pixels, in place of --scale.")
    ] = None,
    smallest: Annotated[
        bool,
        typer.Option("--smallest", help="Look for the smallest perturbation that changes the answer, too."),
    ] = False,
    samples: Annotated[int, typer.Option(min=2, help="Monte Carlo samples of each answer.")] = 2_000,
    alpha: Annotated[float, typer.Option(help="Confidence 1 - alpha of each certificate.")] = 0.001,
    restarts: Annotated[int, typer.Option(min=1, help="Runs of each attack; the best counts.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of a run.")] = 20,
    draws: Annotated[int, typer.Option(min=1, help="Noise draws of a step.")] = 64,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write the report here; a run that is cut short goes on when given again."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot the smallest perturbations against the radii here: .png, .svg or .pdf."),
    ] = None,
    counterexamples: Annotated[
        Path, typer.Option(help="The folder for attacks that succeed within a certified radius, if any do.")
    ] = Path("counterexamples"),
) -> None:
    """Attack certified answers with exact gradients; ends with 1 if one changes within its radius."""
    if json_file:
        preflight.check_output(json_file, "--json")
    if plot:
        preflight.check_output(plot, "--plot", preflight.PLOTS)
    preflight.check_output_folder(counterexamples, "--counterexamples")
    if gallery and data:
        raise typer.BadParameter("--gallery is about your own images: leave out --data")
    if plot and not smallest:
        raise typer.BadParameter("--plot shows what --smallest finds: give both")
    settings = _with_sigma(_settings(model), sigma)
    data = None if gallery else data or "digits"
    check_published(data, root)
    for option, origin in (("--data", None if root else data), ("--query-data", query_data)):
        _origin(option, origin)

    from evaluation import attack as attacks
    from evaluation.material import Material
    from service.retrieval.adversary import Effort

    if plot:
        with _extra():
            from evaluation import plot as plots
    interrupts.raise_again()
    plan = attacks.AttackPlan(
        Material(data, query_data, queries, root),
        tuple(one.value for one in dict.fromkeys(guarantee)),
        samples,
        alpha,
        scale,
        radius,
        smallest,
        Effort(restarts, steps, draws),
    )
    # Beside the report, for as long as there is none.
    state = json_file and json_file.with_name(f"{json_file.name}.unfinished")
    folder = state and state / "attack"
    report = attacks.run(plan, settings, counterexamples, folder, _shown)
    if json_file and state:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
        shutil.rmtree(state)
    if plot:
        plots.save_distances(report, plot)
    print(json.dumps({name: value for name, value in report.items() if name != "details"}))
    for place in report["counterexamples"]:
        console.print(f"an answer changed within its certified radius: {place}", style="red", markup=False)
    if report["counterexamples"]:
        raise typer.Exit(1)


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


def _origin(option: str, origin: str | None) -> None:
    """Refuse what is neither a data set nor there: the readers say the rest."""
    from models.datasets import DATASETS, PUBLISHED

    if origin is not None and origin not in DATASETS and not Path(origin).exists():
        raise typer.BadParameter(
            f"{option}: {origin!r} is neither a folder or table nor a data set: {', '.join(DATASETS)};"
            f" or with --root: {', '.join(PUBLISHED)}"
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
