"""Bulk changes as jobs: an archive that was sent, or a folder of the server, is added while queries go on.

After a crash a job begins again: what was stored by then is found to be there, and not embedded again.
"""

import fcntl
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from index import GalleryError
from service.errors import ItemInvalid, Overloaded, Problem
from service.gallery.check import ItemRules
from service.gallery.findings import Findings, ImportFailure, Refusal, Source
from service.gallery.intake import AddReport, Intake
from service.gallery.job_records import ENDED, Job, JobFolder, JobRecords, RefusedEntry
from service.gallery.sources import sources
from service.gallery.unpacking import UnpackLimits, is_table, remove, top_folder, unpack

log = logging.getLogger("retrievalguard")

# How often to look for a job that another process was given, in seconds.
LOOK_SECONDS = 5.0
# A job that gets no further in so many starts of the server may be what ends it.
MOST_STARTS = 5


@dataclass(frozen=True)
class JobLimits:
    """How much there may be: jobs that have not ended, ended ones that are kept, and bytes unpacked."""

    unended: int
    kept: int
    unpacked: UnpackLimits


class Jobs:
    """The jobs in the folder `place`, worked on one at a time by a thread, between `start` and `close`.

    `root`: the folder of the server below which jobs may read; None: none may.
    """

    def __init__(
        self, place: Path, root: Path | None, intake: Intake, rules: ItemRules, limits: JobLimits
    ) -> None:
        self.records = JobRecords(place)
        self._root, self._intake, self._rules, self._limits = root, intake, rules, limits
        self._changed, self._closing = threading.Condition(), False
        self._worker: threading.Thread | None = None

    def start(self) -> None:
        """Work on jobs that wait, and go on with those that were cut short."""
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Stop at the next item; the next start goes on."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join()

    @contextmanager
    def receiving(self) -> Iterator[tuple[str, Path]]:
        """The id of a new job, and the file for what is sent; without a `submit` nothing is left of it.

        Raises `Overloaded` if too many have not ended yet.
        """
        if sum(job.state not in ENDED for job in self.records.all()) >= self._limits.unended:
            raise Overloaded("too many jobs are waiting already: try again later", retry_after=10)
        with self.records.receiving() as (id_, folder):
            yield id_, folder.sent

    def submit(self, id_: str, *, folder: str | None = None, prefix: str = "", replace: bool = False) -> Job:
        """Have a job done that was received: of its archive, or of `folder` below the root.

        Raises `ItemInvalid` if there is no such folder.
        """
        if folder is not None:
            self._server_folder(folder)
        job = Job(id=id_, folder=folder, prefix=prefix, replace=replace, created=datetime.now(UTC))
        self.records.folder(id_).write(job)
        with self._changed:
            self._changed.notify_all()
        return job

    def _work(self) -> None:
        while not self._closing:
            try:
                waiting = [job for job in reversed(self.records.all()) if job.state not in ENDED]
                ran = any(self._try(job) for job in waiting)  # until one was ours
                self.records.keep(self._limits.kept)
            except OSError as error:  # the disk is full, or the folder is gone
                log.error("jobs wait, their folder cannot be used: %s", error)
                ran = False
            with self._changed:
                if not ran and not self._closing:
                    self._changed.wait(LOOK_SECONDS)

    def _try(self, job: Job) -> bool:
        """Run a job, unless another process does."""
        folder = self.records.folder(job.id)
        with folder.lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            try:
                self._run(job, folder)
            except (ImportFailure, Problem, GalleryError, OSError) as error:
                log.warning("job %s failed: %s", job.id, error)
                known = isinstance(error, ImportFailure | Problem)
                told = str(error) if known else "the server's log tells why"
                self._fail(job, folder, told)
            except Exception:
                if not self._closing:  # else the network is gone
                    log.exception("job %s failed", job.id)
                    self._fail(job, folder, "the server failed; its log tells why")
        return True

    def _fail(self, job: Job, folder: JobFolder, reason: str) -> None:
        error = self._shown(folder, reason)
        folder.end((folder.read() or job).model_copy(update={"state": "failed", "error": error}), ())

    def _run(self, job: Job, folder: JobFolder) -> None:
        """Do what there is to do; raises `ImportFailure`, `Problem`, `GalleryError` or `OSError`."""
        if folder.cancelled:
            folder.end(job.model_copy(update={"state": "cancelled"}), ())
            return
        if job.starts == MOST_STARTS:
            raise ImportFailure(f"it was begun {MOST_STARTS} times, and each time the server ended before it")
        job = job.model_copy(update={"state": "running", "starts": job.starts + 1})
        folder.write(job)
        found = self._server_findings(job) if job.folder is not None else self._sent_findings(job, folder)
        passed = len(found.refused) + sum(found.skipped.values())
        seen, stopped = 0, False

        def watched(entries: Iterable[Source]) -> Iterator[Source]:
            nonlocal seen, stopped
            for entry in entries:
                stopped = self._closing or folder.cancelled
                if stopped:
                    return
                yield entry
                seen += 1

        def so_far(report: AddReport) -> Job:
            """What was added before a crash is there now, and was counted then."""
            again = min(report.unchanged, job.added + job.replaced)
            return job.model_copy(
                update={
                    "starts": 0,
                    "total": found.total,
                    "seen": passed + seen,
                    "added": job.added + report.added,
                    "replaced": job.replaced + report.replaced,
                    "unchanged": report.unchanged - again,
                    "refused": len(report.refused),
                    "skipped": dict(report.skipped),
                }
            )

        nothing = so_far(AddReport(0, 0, 0, found.refused, found.skipped))
        folder.write(nothing.model_copy(update={"starts": job.starts}))
        report = self._intake.add(
            found, replace=job.replace, progress=watched, stored=lambda report: folder.write(so_far(report))
        )
        if stopped and not folder.cancelled:
            folder.write(so_far(report))
            return
        refusals = [
            RefusedEntry(place=self._shown(folder, one.place), reason=self._shown(folder, one.reason))
            for one in report.refused
        ]
        warnings = [self._shown(folder, warning) for warning in report.warnings]
        state = "cancelled" if stopped else "done"
        folder.end(so_far(report).model_copy(update={"state": state, "warnings": warnings}), refusals)

    def _sent_findings(self, job: Job, folder: JobFolder) -> Findings:
        """What an archive holds."""
        remove(folder.content)
        refused = unpack(folder.sent, folder.content, self._limits.unpacked)
        top = top_folder(folder.content)
        tables = sorted(str(path) for path in top.iterdir() if is_table(path))
        found = sources(*(tables or [str(top)]), rules=self._rules, prefix=job.prefix)
        found = _confined(found, folder.content)
        return replace(found, refused=(*refused, *found.refused))

    def _server_findings(self, job: Job) -> Findings:
        inside = self._server_folder(job.folder or "")
        return _confined(sources(str(inside), rules=self._rules, prefix=job.prefix), inside)

    def _server_folder(self, name: str) -> Path:
        """A folder below the root; raises `ItemInvalid`."""
        if self._root is None:
            raise ItemInvalid("no folder of the server may be read: RETRIEVALGUARD_JOBS_ROOT names none")
        root = self._root.resolve()
        try:
            found = (root / name).resolve()
            if found.is_relative_to(root) and found.is_dir():
                return found
        except (OSError, ValueError):
            pass
        raise ItemInvalid(f"there is no folder {name[:200]!r} below the one that jobs may read")

    def _shown(self, folder: JobFolder, text: str) -> str:
        """`text` without where things lie on this machine."""
        for place in (folder.content, folder.content.resolve(), self._root and self._root.resolve()):
            text = text.replace(f"{place}/", "") if place is not None else text
        return text


def _confined(found: Findings, folder: Path) -> Findings:
    """What a table names outside of `folder` is refused: it is not the sender's to read."""
    root, inside, refused = folder.resolve(), list[Source](), list(found.refused)
    for source in found.sources:
        if source.path is not None and source.path.resolve().is_relative_to(root):
            inside.append(source)
        else:
            refused.append(Refusal(source.place, "names a file outside of what was sent"))
    return replace(found, sources=tuple(inside), refused=tuple(refused))
