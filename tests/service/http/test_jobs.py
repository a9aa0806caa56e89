"""Jobs over HTTP: an archive is added while queries go on, cancelled, and gone on with after a crash."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.archives import tarred, zipped
from tests.service.processes import Server, run_cli, serving, wait_for
from tests.service.queries import Json, answer, digit, folder_of, noisy_digit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    folder_of(data / "root" / "one", {"3/a.png": digit(0)})
    (data / "root" / "out").symlink_to("/etc")
    limits = {"MAX_ARCHIVE_BYTES": 500_000, "MAX_JOBS": 3, "KEPT_JOBS": 20}
    with serving(data, GALLERY_WRITES="on", JOBS_ROOT=data / "root", **limits) as served:
        yield served
        assert "Traceback" not in served.log.read_text()


def started(client: httpx.Client, content: bytes, **options: Any) -> str:
    response = client.post("/gallery/jobs", content=content, params=options)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/gallery/jobs/{response.json()['id']}"
    return str(response.headers["location"])


def ended(client: httpx.Client, path: str) -> Json:
    wait_for(lambda: client.get(path).json()["state"] not in ("waiting", "running"))
    job: Json = client.get(path).json()
    counts = job["added"] + job["replaced"] + job["unchanged"] + job["refused"] + sum(job["skipped"].values())
    if job["state"] == "done":
        assert counts == job["total"] == job["seen"]
    return job


FILES = {
    "photos/3/a.png": digit(0), "photos/3/b.png": digit(1), "photos/5/c.png": digit(2),
    "photos/5/bad.png": digit(3)[:40], "photos/5/notes.txt": b"x", "photos/.DS_Store": b"x",
}  # fmt: skip


@pytest.mark.parametrize("packed", [zipped, tarred])
def test_an_archive_is_added_and_each_bad_file_is_named(server: Server, packed: Any) -> None:
    client, prefix = server.client, f"{packed.__name__}/"
    job = ended(client, started(client, packed(FILES), prefix=prefix))
    assert (job["state"], job["added"], job["refused"], job["total"]) == ("done", 3, 1, 6)
    assert job["skipped"] == {"no image": 1, "hidden or system": 1}
    (refusal,) = job["refusals"]
    assert refusal["place"] == "photos/5/bad.png"
    assert refusal["reason"]
    assert client.get(f"/gallery/items/{prefix}3/a.png").json()["label"] == "3"
    assert answer(client, digit(2))["neighbor"]["label"] == "5"
    again = ended(client, started(client, packed(FILES), prefix=prefix))
    assert (again["added"], again["unchanged"], again["refused"]) == (0, 3, 1)
    listed = client.get("/gallery/jobs").json()["jobs"]
    assert listed[0] == again | {"refusals": []}
    assert not list((server.data / "jobs" / job["id"]).glob("content*"))
    assert not (server.data / "jobs" / job["id"] / "archive").exists()


def test_a_table_in_an_archive_names_its_items_and_nothing_outside(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(digit(5))
    rows = [
        "path,label,id", "a.png,three,t/a", f"{tmp_path}/secret.png,x,t/b", "../../../gallery.sqlite3,x,t/c",
        "missing.png,x,t/d",
    ]  # fmt: skip
    files = {"items.csv": "\n".join(rows).encode(), "a.png": digit(0)}
    job = ended(server.client, started(server.client, zipped(files)))
    assert (job["added"], job["refused"]) == (1, 3)
    told = {refusal["place"]: refusal["reason"] for refusal in job["refusals"]}
    assert "outside" in told["items.csv, line 3"]
    assert "outside" in told["items.csv, line 4"]
    assert str(server.data) not in str(job)
    assert server.client.get("/gallery/items/t/a").json()["label"] == "three"


def test_what_is_there_is_replaced_when_asked(server: Server) -> None:
    one, other = zipped({"3/x.png": digit(6)}), zipped({"3/x.png": digit(7)})
    ended(server.client, started(server.client, one, prefix="r/"))
    kept = ended(server.client, started(server.client, other, prefix="r/"))
    assert (kept["refused"], kept["replaced"]) == (1, 0)
    changed = ended(server.client, started(server.client, other, prefix="r/", replace="true"))
    assert (changed["refused"], changed["replaced"]) == (0, 1)
    assert server.client.get("/gallery/images/r/3/x.png").content == digit(7)


def test_a_folder_of_the_server_is_added_and_none_outside_of_the_root(server: Server) -> None:
    job = ended(server.client, started(server.client, b"", folder="one", prefix="f/"))
    assert (job["state"], job["added"], job["folder"]) == ("done", 1, "one")
    for folder in ("..", "out", "/etc", "one/../..", "none", "a\0b", "x" * 5_000):
        response = server.client.post("/gallery/jobs", params={"folder": folder})
        assert response.status_code == 422, folder
        assert response.json()["type"].endswith("item-invalid")


def test_what_is_no_job_is_refused_and_nothing_is_left_of_it(server: Server) -> None:
    client, before = server.client, sorted((server.data / "jobs").iterdir())
    bad: list[tuple[Json, int]] = [
        ({"content": b""}, 400),
        ({"content": b"x", "params": {"folder": "one"}}, 400),
        ({"content": bytes(500_001)}, 413),
        ({"content": b"x", "params": {"replce": "1"}}, 422),
        ({"content": b"x", "params": {"replace": "maybe"}}, 422),
        ({"content": b"x", "params": {"prefix": "x" * 600}}, 422),
    ]
    for request, status in bad:
        response = client.post("/gallery/jobs", **request)
        assert response.status_code == status, response.text
    assert client.get("/gallery/jobs/../../etc").status_code == 404
    for path in ("/gallery/jobs/x", "/gallery/jobs/20261126000000000000-00000000"):
        assert client.get(path).json()["type"].endswith("job-not-found")
        assert client.delete(path).status_code == 404
    assert sorted((server.data / "jobs").iterdir()) == before
    no_archive = ended(client, started(client, b"no archive at all"))
    assert no_archive["state"] == "failed"
    assert "cannot be read" in no_archive["error"]
    assert client.delete(f"/gallery/jobs/{no_archive['id']}").status_code == 200
    assert client.get(f"/gallery/jobs/{no_archive['id']}").status_code == 404


def many(prefix: str, count: int) -> bytes:
    return zipped(
        {f"{number % 7}/{prefix}{number}.png": noisy_digit(number % 9, number) for number in range(count)}
    )


def test_a_job_is_cancelled_and_one_that_waits_is_next(server: Server) -> None:
    client = server.client
    long, waiting = started(client, many("c", 600)), started(client, zipped({"3/after.png": digit(8)}))
    wait_for(lambda: client.get(long).json()["added"] > 0)
    assert answer(client, digit(0))["neighbor"]["id"]  # queries go on
    assert client.delete(long).status_code == 200
    job = ended(client, long)
    assert job["state"] == "cancelled"
    assert 0 < job["added"] < 600
    assert ended(client, waiting)["state"] == "done"


def test_after_a_kill_a_job_goes_on_and_does_nothing_twice(data: Path, server: Server) -> None:
    """The last one here: the server is killed, and another goes on."""
    count = 200
    path = started(server.client, many("k", count))
    wait_for(lambda: server.client.get(path).json()["added"] >= 64)
    listed = run_cli(data, "jobs", "list")
    assert path.rpartition("/")[2] in listed.stdout
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    with serving(data, GALLERY_WRITES="on") as again:
        before = again.client.get(path).json()["added"]
        assert 64 <= before < count
        job = ended(again.client, path)
        assert job["state"] == "done"
        # What was stored in the moment of the kill, and not counted, is found to be there.
        assert count - 64 <= job["added"] <= count
        assert job["added"] + job["unchanged"] == count
        assert again.client.get("/gallery/items", params={"limit": 1}).status_code == 200
    shown = run_cli(data, "jobs", "show", path.rpartition("/")[2])
    assert f"{job['added']} added" in shown.stdout
