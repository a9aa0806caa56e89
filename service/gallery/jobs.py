"""Bulk changes as jobs: an archive that was sent, or a folder of the server, is added while queries go on.

After a crash a job begins again: what was stored by then is found to be there, and not embedded again.
"""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from index import GalleryError, StoreBusy
from service.errors import InvalidOption, ItemInvalid, Problem
from service.gallery.check import ItemRefused, ItemRules
from service.gallery.findings import Bounds, Findings, ImportFailure, Source, Stopped
from service.gallery.intake import AddReport, Intake
from service.gallery.job_records import ENDED, Job, JobFolder, JobRecords, RefusedEntry
from service.gallery.sources import sources
from service.gallery.unpacking import UnpackLimits, is_table, remove, top_folder, unpack

log = logging.getLogger("retrievalguard")

# How often to look for a job that another process was given, in seconds.
LOOK_SECONDS = 5.0
# How long the end of the server waits for a job to get to a point where it can stop, in seconds.
CLOSE_SECONDS = 10.0
# What a report names of what was refused; how many more there are it tells. And the longest text in it.
MOST_NAMED, LONGEST_TEXT = 1_000, 2_000
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

    `root`: the folder of the server below which jobs may read; None: none may. `replica`: as of `JobRecords`.
    """

    def __init__(
        self,
        place: Path,
        root: Path | None,
        intake: Intake,
        rules: ItemRules,
        limits: JobLimits,
        replica: str | None = None,
    ) -> None:
        self.records = JobRecords(place, replica)
        self._root, self._intake, self._rules, self._limits = root, intake, rules, limits
        self._changed, self._closing = threading.Condition(), False
        self._worker: threading.Thread | None = None

    def start(self) -> None:
        """Work on jobs that wait, and go on with those that were cut short."""
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Stop at the next item; the next start goes on. One that hangs, as disks do, is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join(CLOSE_SECONDS)

    @contextmanager
    def receiving(self) -> Iterator[tuple[str, Path]]:
        """The id of a new job, and the file for what is sent; without a `submit` nothing is left of it.

        Raises `Overloaded` if too many have not ended yet, or are being received.
        """
        with self.records.receiving(self._limits.unended) as (id_, folder):
            yield id_, folder.sent

    def check(self, *, folder: str | None = None, prefix: str = "") -> None:
        """What may be refused of a job before it is received.

        Raises `InvalidOption` if no id can begin with `prefix`, `ItemInvalid` if there is no such folder.
        """
        try:
            self._rules.check_prefix(prefix)
        except ItemRefused as error:
            raise InvalidOption(("prefix", f"no id can begin so: {error}")) from error
        if folder is not None:
            self._server_folder(folder)

    def submit(self, id_: str, *, folder: str | None = None, prefix: str = "", replace: bool = False) -> Job:
        """Have a job done that was checked and received: of its archive, or of `folder` below the root."""
        job = Job(
            id=id_,
            folder=folder,
            prefix=prefix,
            replace=replace,
            created=datetime.now(UTC),
            replica=self.records.replica,
        )
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
            except StoreBusy as error:  # a restore holds the gallery: this begins again until it is done
                log.warning("job %s waits: %s", job.id, error)
                now = folder.read() or job
                folder.write(now.model_copy(update={"starts": max(0, now.starts - 1)}))
                return False
            except Exception as error:
                if not self._closing:  # else the network is gone, or the gallery is closed
                    self._fail(job, folder, error)
        return True

    def _fail(self, job: Job, folder: JobFolder, error: Exception) -> None:
        if isinstance(error, ImportFailure | Problem | GalleryError | OSError):
            log.warning("job %s failed: %s", job.id, error)
        else:
            log.error("job %s failed", job.id, exc_info=error)
        known = isinstance(error, ImportFailure | Problem)
        told = self._shown(folder)(str(error) if known else "the server's log tells why")
        folder.end((folder.read() or job).model_copy(update={"state": "failed", "error": told}), ())

    def _run(self, job: Job, folder: JobFolder) -> None:
        """Do what there is to do; raises `ImportFailure`, `Problem`, `GalleryError` or `OSError`."""
        if folder.cancelled:
            folder.end(job.model_copy(update={"state": "cancelled"}), ())
            return
        if job.starts == MOST_STARTS:
            raise ImportFailure(f"it was begun {MOST_STARTS} times, and each time the server ended before it")
        job = job.model_copy(update={"state": "running", "starts": job.starts + 1})
        folder.write(job)
        try:
            found = self._found(job, folder)
        except Stopped:
            if folder.cancelled:
                folder.end(job.model_copy(update={"state": "cancelled"}), ())
            else:
                folder.write(job.model_copy(update={"starts": job.starts - 1}))
            return
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
        shown = self._shown(folder)
        refusals = [
            RefusedEntry(place=shown(one.place), reason=shown(one.reason))
            for one in report.refused[:MOST_NAMED]
        ]
        warnings = [shown(warning) for warning in report.warnings[:MOST_NAMED]]
        if len(report.refused) > MOST_NAMED:
            warnings.append(f"{len(report.refused) - MOST_NAMED} more were refused that are not named here")
        state = "cancelled" if stopped else "done"
        folder.end(so_far(report).model_copy(update={"state": state, "warnings": warnings}), refusals)

    def _found(self, job: Job, folder: JobFolder) -> Findings:
        """What there is to add. Raises `Stopped`, and as `_run` does."""

        def stopped() -> bool:
            return self._closing or folder.cancelled

        if job.folder is not None:
            inside = self._server_folder(job.folder)
            bounds = Bounds(inside, None, stopped)
            return sources(str(inside), rules=self._rules, prefix=job.prefix, bounds=bounds)
        remove(folder.content)
        limits = self._limits.unpacked
        refused = unpack(folder.sent, folder.content, limits, stopped)
        top = top_folder(folder.content)
        tables = sorted(path for path in top.iterdir() if is_table(path))
        if sum(table.stat().st_size for table in tables) > limits.file_bytes:
            raise ImportFailure(
                f"the tables have more than {limits.file_bytes} bytes together: send it in parts"
            )
        bounds = Bounds(folder.content.resolve(), limits.files, stopped)
        origins = map(str, tables or [top])
        found = sources(*origins, rules=self._rules, prefix=job.prefix, bounds=bounds)
        return replace(found, refused=(*refused, *found.refused))

    def _server_folder(self, name: str) -> Path:
        """A folder below the root; raises `ItemInvalid`."""
        if self._root is None:
            raise ItemInvalid("no folder of the server may be read: RETRIEVALGUARD_JOBS_ROOT names none")
        root = self._root.resolve()
        try:
            found = (root / name).resolve()
            if found.is_relative_to(root) and found.is_dir():
                return found
        except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
            pass
        raise ItemInvalid(f"there is no folder {name[:200]!r} below the one that jobs may read")

    def _shown(self, folder: JobFolder) -> Callable[[str], str]:
        """What takes from a text where things lie on this machine, and cuts it."""
        names = {folder.content: "the archive", folder.content.resolve(): "the archive"}
        if self._root is not None:
            names[self._root.resolve()] = "the folder for jobs"

        def shown(text: str) -> str:
            for place, name in names.items():
                text = text.replace(f"{place}/", "").replace(str(place), name) if place.name else text
            return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."

        return shown
