"""What is kept of jobs: a folder for each, with its record, its report, and what was sent.

Records are replaced as a whole, so they can be looked at from outside, by the command line or another
replica, and are right after a crash.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from index import private_folder
from service.errors import JobNotFound, Overloaded
from service.gallery.replica import elsewhere
from service.gallery.unpacking import remove

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_ID = re.compile(r"[0-9]{20}-[0-9a-f]{8}")


class RefusedEntry(BaseModel):
    """A file that was not added: where it is in what was sent, and why."""

    place: str
    reason: str


class Job(BaseModel):
    """A job as it is kept, and as clients see it.

    folder    of the server, below the one that jobs may read; null: an archive was sent
    starts    how often it was begun since it last got further
    seen      how many of the `total` entries were looked at; 0 of 0 until it is known what there is
    refused   how many should have been added and were not; `refusals` names each, when the job has ended
    skipped   entries that are not meant to be added, by reason
    error     why the job failed as a whole
    replica   which one it was sent to, and keeps it, where several share the gallery
    """

    model_config = ConfigDict(frozen=True)

    id: str
    state: State = "waiting"
    folder: str | None
    prefix: str
    replace: bool
    created: datetime
    ended: datetime | None = None
    starts: int = 0
    total: int = 0
    seen: int = 0
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    refused: int = 0
    skipped: dict[str, int] = {}
    refusals: list[RefusedEntry] = []
    warnings: list[str] = []
    error: str | None = None
    replica: str | None = None


_REFUSALS = TypeAdapter(list[RefusedEntry])


class JobFolder:
    """The folder of one job."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.sent, self.content, self.lock = place / "archive", place / "content", place / "lock"
        self._record, self._report, self._cancel = place / "job.json", place / "report.json", place / "cancel"

    def read(self) -> Job | None:
        """The record; None if there is none."""
        try:
            return Job.model_validate_json(self._record.read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def is_received(self) -> bool:
        """Whether all of it was sent."""
        return self._record.exists()

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended, or is being received."""
        if not self.is_received:
            return True
        job = self.read()
        return job is not None and job.state not in ENDED

    def write(self, job: Job) -> None:
        """Replace the record, durably; nothing is written of a job that was forgotten."""
        if self.place.is_dir():
            _replaced(self._record, job.model_dump_json(exclude={"refusals"}))

    def refusals(self) -> list[RefusedEntry]:
        """What names each refusal, once the job has ended."""
        try:
            return _REFUSALS.validate_json(self._report.read_bytes())
        except (OSError, ValidationError):
            return []

    def end(self, job: Job, refusals: Sequence[RefusedEntry]) -> None:
        """Write down how the job ended, and throw away what was sent."""
        if self.place.is_dir():
            _replaced(self._report, _REFUSALS.dump_json(list(refusals)).decode())
        self.write(job.model_copy(update={"ended": datetime.now(UTC)}))
        remove(self.content)
        self.sent.unlink(missing_ok=True)

    @property
    def cancelled(self) -> bool:
        """Whether the job is to stop."""
        return self._cancel.exists()

    def cancel(self) -> None:
        """Have it stop at the next item, in whatever process it runs."""
        self._cancel.touch()


class JobRecords:
    """All jobs, each in a folder below `place`; `replica`: whose they are, if there are several."""

    def __init__(self, place: Path, replica: str | None = None) -> None:
        self._place, self.replica = place, replica

    def folder(self, id_: str) -> JobFolder:
        """The folder of a job; raises `JobNotFound` for what is no id of one."""
        if not _ID.fullmatch(id_):
            raise self._missing(id_)
        return JobFolder(self._place / id_)

    def all(self) -> list[Job]:
        """All jobs, the newest first, without what names each refusal."""
        found = (JobFolder(path).read() for path in sorted(self._folders(), reverse=True))
        return [job for job in found if job is not None]

    def get(self, id_: str) -> Job:
        """One job, with what names each refusal; raises `JobNotFound`."""
        folder = self.folder(id_)
        found = folder.read()
        if found is None:
            raise self._missing(id_)
        return found.model_copy(update={"refusals": folder.refusals()})

    @contextmanager
    def receiving(self, most: int) -> Iterator[tuple[str, JobFolder]]:
        """A new job and its folder; of one that has no record at the end nothing is left.

        Raises `Overloaded` if there are `most` that have not ended, with those that others receive now.
        """
        private_folder(self._place)
        with ExitStack() as ours:
            with _locked(self._place):
                if sum(JobFolder(path).is_open for path in self._folders()) >= most:
                    raise Overloaded("too many jobs are waiting already: try again later", retry_after=10)
                id_ = f"{datetime.now(UTC):%Y%m%d%H%M%S%f}-{secrets.token_hex(4)}"
                folder = self.folder(id_)
                folder.place.mkdir(mode=0o700)
                ours.enter_context(_locked(folder.place))
            try:
                yield id_, folder
            finally:
                if folder.read() is None:
                    remove(folder.place)

    def delete(self, id_: str) -> Job:
        """Cancel a job that has not ended, or forget one that has. Raises `JobNotFound`."""
        job, folder = self.get(id_), self.folder(id_)
        if job.state in ENDED:
            remove(folder.place)
        else:
            folder.cancel()
        return job

    def keep(self, most: int) -> None:
        """Forget the oldest of those that have ended, but for so many, and what a crash left of an upload."""
        for job in [job for job in self.all() if job.state in ENDED][most:]:
            remove(self._place / job.id)
        if self._place.is_dir():
            with _locked(self._place):  # else an upload might be about to begin
                for path in self._folders():
                    with suppress(BlockingIOError, FileNotFoundError), _locked(path, wait=False):
                        if not JobFolder(path).is_received:
                            remove(path)

    def _missing(self, id_: str) -> JobNotFound:
        return JobNotFound(f"there is no job {id_[:40]!r}: see GET /gallery/jobs{elsewhere(self.replica)}")

    def _folders(self) -> Iterator[Path]:
        return self._place.glob("*-*")


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder against all other processes, and threads; raises `BlockingIOError` if it may not wait."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _replaced(path: Path, text: str) -> None:
    draft = path.with_suffix(".part")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
