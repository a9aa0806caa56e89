"""The command line: `retrievalguard serve | cluster | retrieve | gallery | model | keys | train | ...`.

What a command needs is imported when it runs: `--help` loads neither torch nor FAISS.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from retrievalguard import (
    __version__,
    gallery,
    interrupts,
    jobs,
    keys,
    model,
    preflight,
    research,
    streams,
    training,
)
from retrievalguard.cluster import command
from retrievalguard.opening import (
    adding,
    checked_settings,
    console,
    log_to_stderr,
    open_retriever,
    opened,
    read_filter,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Certified image retrieval: serve it, fill its gallery, measure it.",
)
app.add_typer(gallery.app, name="gallery")
app.add_typer(jobs.app, name="jobs")
app.add_typer(model.app, name="model")
app.add_typer(keys.app, name="keys")
app.add_typer(command.app)
app.add_typer(training.app)
app.add_typer(research.app)
log = logging.getLogger("retrievalguard")

# How long visitors of the demo may attack an answer, if nothing else is set.
DEMO_ATTACK_SECONDS = 5.0


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
    settings = checked_settings()
    if demo and "attack_seconds" not in settings.model_fields_set and not settings.keys.exists():
        settings = settings.model_copy(update={"attack_seconds": DEMO_ATTACK_SECONDS})
    log_to_stderr(settings)
    if settings.keys_file is not None:
        preflight.check_keys_file(settings.keys_file)
    if settings.traces_url is not None:
        preflight.check_traces()
    sockets = preflight.listening(settings.host, settings.port)
    if not settings.open_to_all:
        preflight.check_guarded(sockets, settings.keys)
    if settings.metrics_port is not None:
        sockets += preflight.listening(settings.host, settings.metrics_port, "RETRIEVALGUARD_METRICS_PORT")
    retriever = open_retriever(settings)

    from models.datasets import DEMOS
    from service.gallery.sources import sources as images_of
    from service.http.app import create_app
    from service.http.server import run

    if demo and retriever.gallery.store.version() == 0:
        data = DEMOS.get(retriever.model.manifest.name, "digits")
        log.info("first start: the demo gallery is filled with %s", data)
        found = images_of(data)
        # All or none: a start that is cut short starts again.
        retriever.intake.add(found, batch=len(found.sources), progress=adding)
    if retriever.vectors.statement:
        log.info("%s", retriever.vectors.statement)
    run(create_app(retriever), settings, sockets)


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
    gallery_name: Annotated[
        str | None, typer.Option("--gallery", help="Ask one of the named galleries.")
    ] = None,
    filter_text: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help='Which items answer, such as \'{"label": "cat"}\'.'),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of this process.")] = None,
) -> None:
    """Answer one query and print what POST /retrieve would: in-process, or with --url by that service."""
    content = image.read_bytes()
    wanted = None if filter_text is None else read_filter(filter_text)
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
        "gallery": gallery_name,
        "filter": wanted,
    }
    if url is not None:
        preflight.check_client()

        from retrievalguard import client

        with client.Client(url, retry=0) as remote:
            print(json.dumps(remote.retrieve(content, **client.Options(**given)).as_dict(), indent=2))  # type: ignore[typeddict-item]
        return
    settings = checked_settings()

    from service.retrieval.options import parse_options

    options = parse_options(given)
    with opened(settings) as retriever:
        print(retriever.retrieve(content, options).model_dump_json(indent=2))


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
