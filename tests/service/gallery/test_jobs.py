"""What a job may cost and tell: rows, reports, pipes, links; and how it stops. HTTP is tested next door."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.errors import ItemInvalid, Overloaded
from service.gallery.check import ItemRules
from service.gallery.job_records import ENDED, Job
from service.gallery.jobs import MOST_NAMED, MOST_STARTS, JobLimits, Jobs
from service.gallery.unpacking import UnpackLimits
from service.retriever import Retriever
from service.settings import Settings
from tests.service.archives import zipped
from tests.service.processes import opened, wait_for
from tests.service.queries import digit, folder_of

LIMITS = JobLimits(unended=3, kept=10, unpacked=UnpackLimits(2_000, 100_000, 1_000_000))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    data = tmp_path_factory.mktemp("jobs")
    with opened(Settings(data_dir=data, gallery_samples=128, redis_url=None)) as found:
        yield found


@pytest.fixture
def jobs(retriever: Retriever, tmp_path: Path) -> Iterator[Jobs]:
    root = tmp_path / "root"
    root.mkdir()
    found = Jobs(tmp_path / "data" / "jobs", root, retriever.intake, ItemRules(), LIMITS)
    yield found
    found.close()


def submitted(jobs: Jobs, content: bytes = b"", folder: str | None = None) -> Job:
    jobs.check(folder=folder)
    with jobs.receiving() as (id_, sent):
        if folder is None:
            sent.write_bytes(content)
        return jobs.submit(id_, folder=folder)


def done(jobs: Jobs, content: bytes = b"", folder: str | None = None) -> Job:
    job = submitted(jobs, content, folder)
    jobs.start()
    wait_for(lambda: jobs.records.get(job.id).state in ENDED)
    return jobs.records.get(job.id)


def test_rows_of_tables_are_limited(jobs: Jobs) -> None:
    job = done(jobs, zipped({"items.jsonl": b"1\n" * 2_001}))
    assert job.error == "there are more than 2000 entries: send them in parts"


def test_tables_are_limited_together(jobs: Jobs) -> None:
    row = json.dumps({"path": "a.png", "label": "3", "note": "x" * 60_000}).encode()
    job = done(jobs, zipped({"one.jsonl": row, "two.jsonl": row}))
    assert job.error is not None
    assert "tables have more than 100000 bytes" in job.error


def test_a_report_names_so_many_and_counts_the_others(jobs: Jobs) -> None:
    job = done(jobs, zipped({"items.jsonl": b"1\n" * (MOST_NAMED + 5)}))
    assert (job.state, job.refused, len(job.refusals)) == ("done", MOST_NAMED + 5, MOST_NAMED)
    assert job.refusals[0].place == "items.jsonl, line 1"
    assert job.warnings == ["5 more were refused that are not named here"]


@pytest.mark.parametrize("files", [{"a.txt": b"x"}, {"items.csv": b"path," + b"x," * 5_000}])
def test_an_error_is_short_and_tells_no_folder_of_the_server(
    jobs: Jobs, files: dict[str, bytes], tmp_path: Path
) -> None:
    job = done(jobs, zipped(files))
    assert job.error is not None
    assert len(job.error) <= 2_000
    assert str(tmp_path) not in job.error
    job = done(jobs, folder="")
    assert job.error is not None
    assert job.error.startswith("the folder for jobs holds no images")


def test_pipes_are_not_opened_and_links_lead_nowhere(jobs: Jobs, tmp_path: Path) -> None:
    folder_of(tmp_path / "outside", {"3/secret.png": digit(1)})
    folder = Path(folder_of(tmp_path / "root" / "one", {"3/a.png": digit(0)}))
    os.mkfifo(folder / "3" / "pipe.png")
    (folder / "3" / "inner.png").symlink_to("a.png")
    (folder / "3" / "outer.png").symlink_to(tmp_path / "outside" / "3" / "secret.png")
    (folder / "5").symlink_to(tmp_path / "outside" / "3")
    (folder / "7").symlink_to("7")
    with pytest.raises(ItemInvalid):
        submitted(jobs, folder="one/7")
    job = done(jobs, folder="one")
    assert (job.state, job.added) == ("done", 2)
    assert {one.place: one.reason for one in job.refusals} == {
        "one/3/pipe.png": "cannot be read: it is no plain file",
        "one/3/outer.png": "is a link that leads out of the folder",
        "one/5": "is a link that leads out of the folder",
        "one/7": "is a link that leads out of the folder",
    }


def test_a_job_that_is_stopped_before_it_knows_what_there_is_goes_on_later(jobs: Jobs) -> None:
    job = submitted(jobs, zipped({"3/a.png": digit(0)}))
    folder = jobs.records.folder(job.id)
    jobs.close()
    jobs._run(job, folder)
    stopped = jobs.records.get(job.id)
    assert (stopped.state, stopped.starts) == ("running", 0)
    assert folder.sent.exists()
    folder.cancel()
    jobs._run(stopped, folder)
    assert jobs.records.get(job.id).state == "cancelled"


def test_uploads_under_way_count_as_jobs(jobs: Jobs, tmp_path: Path) -> None:
    most, together = LIMITS.unended, threading.Barrier(12)

    def upload() -> bool:
        try:
            with jobs.receiving():
                together.wait()
                return True
        except Overloaded:
            together.wait()
            return False

    with ThreadPoolExecutor(together.parties) as pool:
        assert sum(pool.map(lambda _: upload(), range(together.parties))) == most
    assert not list((tmp_path / "data" / "jobs").iterdir())
    for _ in range(most):
        submitted(jobs)
    with pytest.raises(Overloaded):
        submitted(jobs)


def test_what_a_crash_leaves_of_an_upload_is_removed_and_one_under_way_is_not(
    jobs: Jobs, tmp_path: Path
) -> None:
    with jobs.receiving() as (_, sent):
        left = sent.parent.with_name("20261126000000000000-00000000")
        left.mkdir()
        (left / "archive").touch()
        jobs.start()
        wait_for(lambda: not left.exists())
        assert sent.parent.exists()


def test_jobs_are_private(jobs: Jobs, tmp_path: Path) -> None:
    submitted(jobs)
    place = tmp_path / "data" / "jobs"
    assert [path.stat().st_mode & 0o777 for path in (place, *place.iterdir())] == [0o700, 0o700]


def test_a_job_waits_for_a_restore_that_takes_long(
    jobs: Jobs, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.gallery.jobs.LOOK_SECONDS", 0.05)
    retriever.gallery.store.transaction.__self__._db.execute("PRAGMA busy_timeout = 50")  # type: ignore[attr-defined]
    restore = retriever.gallery.store.again()
    busy, add = list[int](), retriever.gallery.add

    def counted(items: Any) -> int:
        busy.append(len(items))
        return add(items)

    monkeypatch.setattr(retriever.gallery, "add", counted)
    with restore.transaction():
        job = submitted(jobs, zipped({"a/1.png": digit(1), "a/2.png": digit(2)}))
        jobs.start()
        wait_for(lambda: len(busy) > MOST_STARTS)
        assert jobs.records.get(job.id).state == "running"
    restore.close()
    wait_for(lambda: jobs.records.get(job.id).state in ENDED)
    ended = jobs.records.get(job.id)
    assert (ended.state, ended.added) == ("done", 2)
