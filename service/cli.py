"""The command line: `retrievalguard serve | retrieve | gallery | train | evaluate | attack`."""

import json
import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.progress import Progress, TextColumn, track

from index import GalleryError, NewItem
from models import DATASETS, ModelError, Recipe, VariantError
from models import train as train_model
from service.app import create_app
from service.errors import Problem
from service.gallery_import import ImportFailure, Source, sources
from service.options import parse_options
from service.retriever import Retriever
from service.settings import Settings, SettingsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
gallery_app = typer.Typer(no_args_is_help=True, help="Add, list and delete gallery items.")
app.add_typer(gallery_app, name="gallery")
console = Console(stderr=True, soft_wrap=True)
log = logging.getLogger("retrievalguard")

# Items in one transaction: a crash loses at most these, and a progress bar moves.
BATCH = 64


@contextmanager
def _retriever() -> Iterator[Retriever]:
    retriever = Retriever.open(progress=_embedding)
    try:
        yield retriever
    finally:
        retriever.close()


def _embedding(ids: Iterable[str]) -> Iterable[str]:
    return track(list(ids), "embedding the gallery with this model", console=console)


@app.command()
def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill a gallery that was never written with the digits.")
    ] = False,
) -> None:
    """Serve the REST API; settings come from the environment (docs/operations.md)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    retriever = Retriever.open(progress=_embedding)
    settings = retriever.settings
    if demo and retriever.gallery.store.version() == 0:
        log.info("first start: embedding the digits for the demo gallery")
        found = sources("digits")
        _add(retriever, found, batch_size=len(found))  # all or none: a start that is cut short starts again
    # uvicorn raises the signal again when it has shut down: by then there is nothing left to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(retriever),
        host=settings.host,
        port=settings.port,
        log_level="info",
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
    )


@app.command()
def retrieve(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP file.", exists=True, dir_okay=False)],
    top_k: int = 1,
    guarantee: str = "label",
    rule: str = "embedding",
    method: str = "cdf",
    alpha: float | None = None,
    target_radius: float | None = None,
    max_samples: int | None = None,
    min_gain: float | None = None,
    deadline_ms: int | None = None,
) -> None:
    """Answer one query in-process and print what POST /retrieve would."""
    options = parse_options(
        {
            "top_k": top_k,
            "guarantee": guarantee,
            "rule": rule,
            "method": method,
            "alpha": alpha,
            "target_radius": target_radius,
            "max_samples": max_samples,
            "min_gain": min_gain,
            "deadline_ms": deadline_ms,
        }
    )
    with _retriever() as retriever:
        print(retriever.retrieve(image.read_bytes(), options).model_dump_json(indent=2))


@gallery_app.command("add")
def gallery_add(
    source: Annotated[
        str, typer.Argument(help="A folder per label, a .csv or .jsonl of path,label,metadata, or `digits`.")
    ],
) -> None:
    """Add images. What is there already, unchanged, is left alone; images that cannot be read are named."""
    found = sources(source)
    with _retriever() as retriever:
        refused = _add(retriever, found)
        console.print(f"the gallery has {len(retriever.gallery.snapshot())} items")
    if refused:
        raise typer.Exit(1)


def _add(retriever: Retriever, found: list[Source], batch_size: int = BATCH) -> int:
    """Embed and store; returns how many images were refused, each with a line that says why."""
    refused, batch = 0, list[NewItem]()
    for source in track(found, "adding to the gallery", console=console):
        try:
            content = source.read()
            if not retriever.holds(source.item, content):
                batch.append(retriever.prepare(source.item, content))
        except (OSError, Problem) as error:
            console.print(f"not added: {source.item.id}: {error}", style="red", markup=False)
            refused += 1
        if len(batch) == batch_size:
            retriever.gallery.add(batch)
            batch = []
    if batch:
        retriever.gallery.add(batch)
    return refused


@gallery_app.command("list")
def gallery_list() -> None:
    """Print id and label of every item, one a line, separated by a tab."""
    with _retriever() as retriever:
        for item in retriever.gallery.snapshot().items:
            print(f"{item.id}\t{item.label}")


@gallery_app.command("delete")
def gallery_delete(
    ids: Annotated[list[str], typer.Argument(help="Ids as `gallery list` prints them.")],
) -> None:
    """Delete items, all of them or, if one is not there, none."""
    with _retriever() as retriever:
        retriever.gallery.store.delete(ids)
        console.print(f"the gallery has {len(retriever.gallery.snapshot())} items")


@app.command()
def train(
    data: Annotated[str, typer.Option(help=f"The data set: {', '.join(DATASETS)}.")],
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, in [0,1] pixels.", min=1e-6)],
    output: Annotated[Path, typer.Option(help="The folder for weights and manifest.")] = Path("model"),
    epochs: Annotated[int, typer.Option(min=1)] = Recipe.epochs,
    name: Annotated[str | None, typer.Option(help="The model's name; default: of the folder.")] = None,
) -> None:
    """Train an embedding network; the same command gives the same weights."""
    command = f"retrievalguard train --data {data} --sigma {sigma!r}"
    command += f" --epochs {epochs}" if epochs != Recipe.epochs else ""
    with Progress(
        *Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"), console=console
    ) as bar:
        task = bar.add_task("training", total=epochs, loss=float("nan"))
        model = train_model(
            DATASETS[_dataset(data)]("train"),
            Recipe(sigma=sigma, epochs=epochs),
            output,
            name=name or output.resolve().name,
            command=command,
            progress=lambda loss: bar.update(task, advance=1, loss=loss),
        )
    console.print(f"{output}: {model.manifest.digest()}")


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help=f"The data set: {', '.join(DATASETS)}.")] = "digits",
    queries: Annotated[int, typer.Option(min=1, help="Held-out images to query with.")] = 60,
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
    from evaluation import certified_recall
    from evaluation import plot as plots

    unknown = [name for name in method if name not in certified_recall.ROWS]
    if unknown:
        raise typer.BadParameter(
            f"unknown method {unknown[0]!r}; there is: {', '.join(certified_recall.ROWS)}"
        )
    methods = [name for name in certified_recall.ROWS if name in method]
    report = certified_recall.evaluate(
        _dataset(data),
        Settings.from_environment(),
        methods,
        queries=queries,
        samples=samples,
        alpha=alpha,
        target=target_radius,
        progress=lambda rows: track(list(rows), "evaluating", console=console),
    )
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


@app.command()
def attack(
    data: Annotated[str, typer.Option(help=f"The data set: {', '.join(DATASETS)}.")] = "digits",
    queries: Annotated[int, typer.Option(min=1)] = 50,
    scale: Annotated[float, typer.Option(min=0, help="Size of the attack, in certified radii.")] = 0.999,
    samples: Annotated[int, typer.Option(min=2)] = 2_000,
) -> None:
    """Attack held-out queries with the exact gradient, and print how many labels changed, as JSON."""
    from evaluation.attack import attack as run

    report = run(
        _dataset(data),
        Settings.from_environment(),
        queries=queries,
        scale=scale,
        samples=samples,
        progress=lambda rows: track(list(rows), "attacking", console=console),
    )
    print(json.dumps(report))


def _dataset(name: str) -> str:
    if name not in DATASETS:
        raise typer.BadParameter(f"unknown data set {name!r}; there is: {', '.join(DATASETS)}")
    return name


def main() -> None:
    """Run the command line; errors that a user can mend are one line, not a traceback."""
    try:
        app(standalone_mode=True)
    except SettingsError as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(2)
    except (Problem, ModelError, VariantError, GalleryError, ImportFailure, OSError) as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
