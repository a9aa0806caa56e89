"""The command line: `retrievalguard serve | retrieve | gallery | model | keys | train | evaluate | attack`.

What a command needs is imported when it runs: `--help` loads neither torch nor FAISS.
"""

import json
import logging
import logging.config
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from retrievalguard import (
    __version__,
    interrupts,
    jobs,
    keys,
    model,
    preflight,
    research,
    streams,
    training,
)

if TYPE_CHECKING:
    from index import GalleryStore
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
app.add_typer(jobs.app, name="jobs")
app.add_typer(model.app, name="model")
app.add_typer(keys.app, name="keys")
app.add_typer(training.app)
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
def _store(*, made: bool) -> "Iterator[GalleryStore]":
    """The gallery file alone, without a model. `made`: it must be there already."""
    path = _settings().data_dir / "gallery.sqlite3"
    if made and not path.is_file():
        raise preflight.CheckError(f"there is no gallery at {path}: look at RETRIEVALGUARD_DATA_DIR")

    from index import GalleryStore

    store = GalleryStore(path)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _retriever(settings: "Settings | None" = None) -> "Iterator[Retriever]":
    retriever = _open(settings)
    try:
        yield retriever
    finally:
        retriever.close()


def _settings() -> "Settings":
    """Those of the environment, checked as far as that takes no torch: a mistake is told at once."""
    preflight.check_service()

    from service.settings import Settings

    settings = Settings.from_environment()
    preflight.check_data_folder(settings.data_dir)
    preflight.check_model(settings.model)
    return settings


def _open(settings: "Settings | None" = None) -> "Retriever":
    """A retriever that has this process to itself; `settings`: those of the environment."""
    settings = settings or _settings()

    from service.process import own_process
    from service.retriever import Retriever

    interrupts.raise_again()
    own_process()
    return Retriever.open(settings, progress=_embedding)


def _embedding(ids: Iterable[str]) -> Iterable[str]:
    found = list(ids)
    if found:
        log.info("embedding %d items of the gallery with this model", len(found))
    return track(
        found, "embedding the gallery with this model", console=console, disable=not console.is_terminal
    )


@app.command()
def serve(
    demo: Annotated[
        bool,
        typer.Option(
            "--demo", help="Fill a gallery that was never written: with digits, or the model's emoji."
        ),
    ] = False,
) -> None:
    """Serve the REST API; settings come from the environment (docs/operations.md)."""
    settings = _settings()
    _log_to_stderr(settings)
    if settings.keys_file is not None:
        preflight.check_keys_file(settings.keys_file)
    sockets = preflight.listening(settings.host, settings.port)
    if not settings.open_to_all:
        preflight.check_guarded(sockets, settings.keys)
    retriever = _open(settings)

    from models.datasets import DEMOS
    from service.gallery.sources import sources as images_of
    from service.http.app import create_app
    from service.http.server import run

    if demo and retriever.gallery.store.version() == 0:
        data = DEMOS.get(retriever.model.manifest.name, "digits")
        log.info("first start: the demo gallery is filled with %s", data)
        found = images_of(data)
        # All or none: a start that is cut short starts again.
        retriever.intake.add(found, batch=len(found.sources), progress=_adding)
    if retriever.vectors.statement:
        log.info("%s", retriever.vectors.statement)
    run(create_app(retriever), settings, sockets)


def _log_to_stderr(settings: "Settings") -> None:
    """One format for every line, and a word on what was ignored."""
    from service import logs
    from service.settings import service_links

    logging.config.dictConfig(logs.configuration(logs.format_for(settings.log_format, sys.stderr)))
    logging.captureWarnings(True)
    links = service_links(os.environ)
    if links:
        log.info(
            "ignored, as an orchestrator sets them and they are no settings: %s; the port is %d",
            ", ".join(links),
            settings.port,
        )


@app.command()
def retrieve(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP file.", exists=True, dir_okay=False)],
    top_k: int = 1,
    guarantee: str = "label",
    within_k: int | None = None,
    rule: str = "embedding",
    method: str = "cdf",
    alpha: float | None = None,
    target_radius: float | None = None,
    max_samples: int | None = None,
    min_gain: float | None = None,
    deadline_ms: int | None = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell what limits the radius.")] = False,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of this process.")] = None,
) -> None:
    """Answer one query and print what POST /retrieve would: in-process, or with --url by that service."""
    content = image.read_bytes()
    given = {
        "top_k": top_k,
        "guarantee": guarantee,
        "within_k": within_k,
        "rule": rule,
        "method": method,
        "alpha": alpha,
        "target_radius": target_radius,
        "max_samples": max_samples,
        "min_gain": min_gain,
        "deadline_ms": deadline_ms,
        "explain": explain,
    }
    if url is not None:
        preflight.check_client()

        from retrievalguard import client

        with client.Client(url, retry=0) as remote:
            print(json.dumps(remote.retrieve(content, **client.Options(**given)).as_dict(), indent=2))  # type: ignore[typeddict-item]
        return
    settings = _settings()

    from service.retrieval.options import parse_options

    options = parse_options(given)
    with _retriever(settings) as retriever:
        print(retriever.retrieve(content, options).model_dump_json(indent=2))


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
    with _retriever(settings) as retriever:
        report = retriever.intake.add(found, replace=replace, prune=prune, prefix=prefix, progress=_adding)
        _tell(report)
        if retriever.vectors.statement:
            console.print(retriever.vectors.statement)
        if retriever.losses["gallery"].statement:
            console.print(retriever.losses["gallery"].statement, style="yellow", markup=False)
        console.print(f"the gallery has {len(retriever.gallery.snapshot())} items")
    if report.refused:
        raise typer.Exit(1)


def _adding(found: "Iterable[Source]") -> "Iterable[Source]":
    return track(found, "adding to the gallery", console=console, disable=not console.is_terminal)


def _tell(report: "AddReport") -> None:
    for refusal in report.refused:
        console.print(f"refused: {refusal.place}: {refusal.reason}", style="red", markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    console.print(str(report), markup=False)


@gallery_app.command("list")
def gallery_list(
    label: Annotated[str | None, typer.Option(help="Only items with this label.")] = None,
) -> None:
    """Print id and label of every item that is searched, one a line, separated by a tab."""
    with _retriever() as retriever:
        for item in retriever.gallery.snapshot().items:
            if label in (None, item.label):
                print(f"{item.id}\t{item.label}")


@gallery_app.command("export")
def gallery_export(
    archive: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write the whole gallery to one file: a backup, also while a server is running.

    Items that are damaged are named and left out, so that the rest can be restored; then the status is 1.
    """
    from index import export_gallery

    with _store(made=True) as store:
        done = export_gallery(store, archive, overwrite=overwrite)
    console.print(f"{archive}: {done.items} items", markup=False)
    if done.damaged_vectors:
        console.print(
            f"without {done.damaged_vectors} damaged vectors: a start after an import embeds them anew"
        )
    for id_ in done.damaged:
        console.print(streams.readable(f"left out, it is damaged: {id_}"), style="red", markup=False)
    if done.damaged:
        raise typer.Exit(1)


@gallery_app.command("vectors")
def gallery_vectors(
    file: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
) -> None:
    """Write the gallery's vectors to a file that can ship with the model.

    As gallery.safetensors beside the weights it spares every machine the embedding of these pictures.
    """
    preflight.check_output(file, "FILE")
    settings = _settings()

    from service.gallery.vectors import to_ship

    with _retriever(settings) as retriever:
        shipped = to_ship(retriever.gallery, retriever.vectors, retriever.decode)
    shipped.write(file)
    console.print(f"{file}: {len(shipped):,} vectors of {shipped.samples} samples each", markup=False)


@gallery_app.command("import")
def gallery_import(
    archive: Annotated[Path, typer.Argument(help="A file that `gallery export` wrote.", exists=True)],
) -> None:
    """Read an export into an empty gallery: all of it, or nothing."""
    from index import import_gallery

    with _store(made=False) as store:
        count = import_gallery(store, archive)
    console.print(f"{store.path}: {count} items", markup=False)


@gallery_app.command("delete")
def gallery_delete(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids as `gallery list` prints them.")] = None,
    label: Annotated[str | None, typer.Option(help="All items with this label.")] = None,
    prefix: Annotated[str | None, typer.Option(help="All items whose id begins so.")] = None,
) -> None:
    """Delete items, all of them or, if one is not there, none; or all with a label, a prefix or both."""
    from index import delete_where

    if bool(ids) == bool(label or prefix):
        raise typer.BadParameter("give ids, or --label, --prefix or both")
    with _store(made=True) as store:
        if ids:
            store.delete(ids)
        else:
            _, count = delete_where(store, label=label or None, prefix=prefix or None)
            console.print(f"{count} items deleted")
        console.print(f"the gallery has {len(store.ids())} items")


@gallery_app.command("relabel")
def gallery_relabel(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An id as `gallery list` prints it.")],
    label: Annotated[str, typer.Argument(help="Its new label.")],
) -> None:
    """Give an item another label: nothing is embedded anew."""
    from index import revise
    from service.gallery.check import ItemRefused, ItemRules

    settings = _settings()
    try:
        item = ItemRules(settings.max_name_length, settings.max_metadata_bytes).item(id_, label, {})
    except ItemRefused as error:
        raise preflight.CheckError(str(error)) from error
    with _store(made=True) as store:
        revise(store, item.id, label=item.label)


@gallery_app.command("snapshot")
def gallery_snapshot(
    name: Annotated[str | None, typer.Argument(help="What to call it; default: the time.")] = None,
) -> None:
    """Keep the gallery as it is now in the data folder, also while a server is running."""
    with _retriever() as retriever:
        made, held = retriever.snapshots.create(name)
    console.print(f"{made.name}: {held.items} items", markup=False)
    for damaged in held.damaged:
        console.print(streams.readable(f"left out, it is damaged: {damaged}"), style="red", markup=False)


@gallery_app.command("snapshots")
def gallery_snapshots() -> None:
    """Print name, time and bytes of every snapshot, one a line, separated by tabs."""
    with _retriever() as retriever:
        for one in retriever.snapshots.all():
            print(f"{one.name}\t{one.created:%Y-%m-%dT%H:%M:%SZ}\t{one.size}")


@gallery_app.command("restore")
def gallery_restore(
    name: Annotated[str, typer.Argument(help="A name as `gallery snapshots` prints it.")],
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed items that this model has not embedded, else refuse.")
    ] = False,
) -> None:
    """Put a snapshot in the place of the gallery; a server answers from the old one meanwhile."""
    with _retriever() as retriever:
        _, count = retriever.snapshots.restore(name, embed=embed)
    console.print(f"the gallery has {count} items")


def main() -> None:
    """Run the command line; errors that a user can mend are one line, not a traceback.

    Ends the process with one of the statuses of docs/operations.md.
    """
    status = 0
    try:
        streams.complete()
        app(standalone_mode=True)
    except KeyboardInterrupt:
        interrupts.leave()
    except SystemExit as end:  # how typer ends, always
        status = end.code if isinstance(end.code, int) else 0
    except Exception as error:
        found = _status(error)
        if found is None:
            raise
        console.print(streams.readable(_told(error)), style="red", markup=False)
        status = found
    if status == interrupts.STATUS:
        interrupts.leave()
    sys.exit(streams.flushed(status))


def _told(error: Exception) -> str:
    """What to tell of an error that a user can mend: the file first, if it is about one."""
    if isinstance(error, MemoryError):
        return "there is not enough memory: end other programs, or use smaller limits (docs/operations.md)"
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        name = os.fsdecode(name) if isinstance(name, bytes) else name
        return error.strerror if name is None else f"{name}: {error.strerror}"
    return str(error)


# The errors that a user can mend, by the modules that define them: one that is not loaded has raised none.
_USAGE = {"service.settings": "SettingsError", "service.secret": "SecretError"}
_FAILURES = {
    "index": "GalleryError",
    "models": "ModelError",
    "models.passes.calibration": "VariantError",
    "retrievalguard.client.refusals": "ClientError",
    "service.errors": "Problem",
    "service.gallery.findings": "ImportFailure",
    "evaluation.kept": "OtherExperiment",
}


def _status(error: Exception) -> int | None:
    """With what to exit after an error that a user can mend; None for one that nobody expected."""
    if isinstance(error, _loaded(_USAGE)):
        return 2
    known = (*_loaded(_FAILURES), preflight.CheckError, OSError, MemoryError)
    return 1 if isinstance(error, known) else None


def _loaded(homes: dict[str, str]) -> tuple[type[Exception], ...]:
    return tuple(getattr(sys.modules[home], name) for home, name in homes.items() if home in sys.modules)
