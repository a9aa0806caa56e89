"""The command line: `retrievalguard serve | retrieve | gallery | train | evaluate | attack`.

What a command needs is imported when it runs: `--help` loads neither torch nor FAISS.
"""

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from retrievalguard import __version__, research

if TYPE_CHECKING:
    from service.gallery.findings import Source
    from service.gallery.intake import AddReport
    from service.retriever import Retriever
    from service.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Certified image retrieval: serve it, fill its gallery, measure it.",
)
gallery_app = typer.Typer(no_args_is_help=True, help="Add, list and delete gallery items.")
app.add_typer(gallery_app, name="gallery")
app.add_typer(research.app)
console = Console(stderr=True, soft_wrap=True)
log = logging.getLogger("retrievalguard")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"retrievalguard {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _retriever() -> "Iterator[Retriever]":
    retriever = _open()
    try:
        yield retriever
    finally:
        retriever.close()


def _settings() -> "Settings":
    from service.settings import Settings

    return Settings.from_environment()


def _open() -> "Retriever":
    """A retriever that has this process to itself."""
    settings = _settings()  # before torch is loaded: a mistake is told at once

    from service.process import own_process
    from service.retriever import Retriever

    own_process()
    return Retriever.open(settings, progress=_embedding)


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
    retriever = _open()
    settings = retriever.settings

    import uvicorn

    from service.gallery.sources import sources
    from service.http.app import create_app

    if demo and retriever.gallery.store.version() == 0:
        log.info("first start: embedding the digits for the demo gallery")
        found = sources("digits")
        # All or none: a start that is cut short starts again.
        retriever.intake.add(found, batch=len(found.sources), progress=_adding)
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
    from service.retrieval.options import parse_options

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
        list[str],
        typer.Argument(help="A folder per label, a .csv or .jsonl of path,label,metadata, or `digits`."),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace items that are there with another image or label.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="Put this before every id.")] = "",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete items (whose id begins with the prefix) that the source lacks."),
    ] = False,
) -> None:
    """Add images, and say what became of each: added, replaced, unchanged, refused or skipped."""
    from service.gallery.check import ItemRules
    from service.gallery.sources import sources

    settings = _settings()
    rules = ItemRules(settings.max_name_length, settings.max_metadata_bytes)
    found = sources(*source, rules=rules, prefix=prefix)
    with _retriever() as retriever:
        report = retriever.intake.add(found, replace=replace, prune=prune, prefix=prefix, progress=_adding)
        _tell(report)
        console.print(f"the gallery has {len(retriever.gallery.snapshot())} items")
    if report.refused:
        raise typer.Exit(1)


def _adding(found: "Iterable[Source]") -> "Iterable[Source]":
    return track(found, "adding to the gallery", console=console)


def _tell(report: "AddReport") -> None:
    for refusal in report.refused:
        console.print(f"refused: {refusal.place}: {refusal.reason}", style="red", markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    console.print(str(report), markup=False)


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


def main() -> None:
    """Run the command line; errors that a user can mend are one line, not a traceback."""
    try:
        app(standalone_mode=True)
    except Exception as error:
        status = _status(error)
        if status is None:
            raise
        console.print(str(error), style="red", markup=False)
        sys.exit(status)


def _status(error: Exception) -> int | None:
    """With what to exit after an error that a user can mend; None for one that nobody expected."""
    from service.secret import SecretError
    from service.settings import SettingsError

    if isinstance(error, SettingsError | SecretError):
        return 2

    from index import GalleryError
    from models import ModelError, VariantError
    from service.errors import Problem
    from service.gallery.findings import ImportFailure

    known = (Problem, ModelError, VariantError, GalleryError, ImportFailure, OSError)
    return 1 if isinstance(error, known) else None
