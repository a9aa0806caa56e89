"""The commands about jobs: what a server was told to add, and how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from retrievalguard import preflight, streams
from retrievalguard.opening import console

if TYPE_CHECKING:
    from service.gallery.job_records import Job, JobRecords

app = typer.Typer(no_args_is_help=True, help="Look at jobs of a server, and cancel them.")
Identity = Annotated[str, typer.Argument(metavar="ID", help="As `jobs list` prints it.")]


@contextmanager
def _records() -> "Iterator[JobRecords]":
    from service.settings import Settings

    settings = Settings.from_environment()
    preflight.check_data_folder(settings.data_dir)

    from service.gallery.job_records import JobRecords

    yield JobRecords(settings.data_dir / "jobs")


@app.command("list")
def list_() -> None:
    """Print every job, the newest first: id, state and counts, separated by tabs."""
    with _records() as records:
        for job in records.all():
            print(_line(job))


@app.command("show")
def show(identity: Identity) -> None:
    """Print how far a job is, and each file that was not added."""
    with _records() as records:
        job = records.get(identity)
    print(_line(job))
    for refusal in job.refusals:
        print(streams.readable(f"refused: {refusal.place}: {refusal.reason}"))
    for warning in job.warnings:
        print(streams.readable(f"warning: {warning}"))
    if job.error is not None:
        print(streams.readable(f"error: {job.error}"))


@app.command("cancel")
def cancel(identity: Identity) -> None:
    """Cancel a job, or forget one that has ended; what it stored stays."""
    with _records() as records:
        job = records.delete(identity)
    console.print(
        f"{job.id} is {job.state}: {'cancelled' if job.ended is None else 'forgotten'}", markup=False
    )


def _line(job: "Job") -> str:
    skipped = sum(job.skipped.values())
    counts = (
        f"{job.seen} of {job.total}: {job.added} added, {job.replaced} replaced, {job.unchanged} unchanged,"
        f" {job.refused} refused, {skipped} skipped"
    )
    return "\t".join((job.id, job.state, counts))
