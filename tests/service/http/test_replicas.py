"""Two replicas on one PostgreSQL: what one changes the other answers from, also while the server is away."""

import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.postgres import ESCAPED, PASSWORD, PostgresServer
from tests.service.archives import zipped
from tests.service.processes import Server, run_cli, serving
from tests.service.queries import Json, digit


@pytest.fixture(scope="module")
def replicas(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Each with a data folder of its own; none has a cache of the other."""
    folder = tmp_path_factory.mktemp("replicas")
    (folder / "url").write_text(postgres_server.emptied() + "\n")
    given = {
        "DATABASE_URL_FILE": folder / "url",
        "GALLERY_WRITES": "loopback", "MAX_BACKLOG_SECONDS": 600,
    }  # fmt: skip
    with serving(folder / "one", **given) as one, serving(folder / "two", **given) as two:
        yield one, two


def put(server: Server, id_: str, label: str, row: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.put(
        f"/gallery/items/{id_}", params={"label": label}, content=digit(row), headers=named
    )


def answer(server: Server, row: int) -> Json:
    response = server.client.post("/retrieve", content=digit(row))
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return {key: found[key] for key in ("neighbor", "neighbors", "certificate", "gallery", "model")}


def within(seconds: float, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def test_a_change_at_one_replica_is_in_the_answers_of_the_other_within_a_second(
    replicas: tuple[Server, Server],
) -> None:
    one, two = replicas
    for number, (writer, reader) in enumerate([(one, two), (two, one), (one, two)]):
        done = put(writer, f"item-{number}", str(number), number)
        assert done.status_code == 201, done.text
        version = done.json()["version"]
        assert answer(writer, number)["gallery"]["version"] == version, "its own change is there at once"
        within(1.0, lambda: answer(reader, number)["gallery"]["version"] == version)  # noqa: B023
        assert answer(one, number + 10) == answer(two, number + 10)


def test_conditions_hold_over_both(replicas: tuple[Server, Server]) -> None:
    one, two = replicas
    tag = put(one, "shared", "a", 20).headers["etag"]
    assert put(two, "shared", "b", 20, if_match=tag).status_code == 200
    refused = put(one, "shared", "c", 20, if_match=tag)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (412, "precondition-failed")
    taken = two.client.post("/gallery/items", params={"id": "shared", "label": "d"}, content=digit(21))
    assert (taken.status_code, taken.json()["type"].rpartition(":")[2]) == (409, "item-exists")
    version = two.client.get("/gallery").json()["version"]
    again = put(one, "shared", "b", 20)
    assert (again.json()["outcome"], again.json()["version"]) == ("unchanged", version)
    assert one.client.delete("/gallery/items/shared", headers={"if-match": tag}).status_code == 412
    assert two.client.delete("/gallery/items/shared").status_code in (200, 204)
    assert one.client.get("/gallery/items/shared").status_code == 404


def test_a_name_and_a_snapshot_made_at_one_hold_at_the_other(replicas: tuple[Server, Server]) -> None:
    one, two = replicas
    put(one, "kept", "k", 30)
    assert one.client.put("/galleries/kept", json={"filter": {"label": "k"}}).status_code in (200, 201)
    within(1.0, lambda: two.client.get("/gallery").json() == one.client.get("/gallery").json())
    found = two.client.post("/retrieve", params={"gallery": "kept"}, content=digit(3)).json()
    assert found["neighbor"]["id"] == "kept"
    before = two.client.get("/gallery").json()
    assert one.client.post("/gallery/snapshots", params={"name": "before"}).status_code == 201
    two.client.delete("/gallery/items/kept")
    assert one.client.post("/gallery/snapshots/before/restore").status_code == 200
    within(1.0, lambda: two.client.get("/gallery").json()["size"] == before["size"])
    assert answer(one, 31) == answer(two, 31)


def test_jobs_and_snapshots_say_which_replica_keeps_them(replicas: tuple[Server, Server]) -> None:
    one, two = replicas
    made = one.client.post("/gallery/snapshots", params={"name": "mine"}).json()
    job = one.client.post("/gallery/jobs", content=zipped({"a/1.png": digit(60)})).json()
    assert made["replica"] == job["replica"] == socket.gethostname()
    for path in ("/gallery/snapshots/mine", f"/gallery/jobs/{job['id']}"):
        assert one.client.get(path).status_code == 200
        missing = two.client.get(path)
        assert missing.status_code == 404
        assert f"This is replica '{socket.gethostname()}', and each keeps its own" in missing.json()["detail"]
    within(60.0, lambda: one.client.get(f"/gallery/jobs/{job['id']}").json()["state"] == "done")
    within(2.0, lambda: two.client.get("/gallery/items/a/1.png").status_code == 200)  # what it added all have


def test_the_command_line_works_on_the_same_gallery(
    replicas: tuple[Server, Server], postgres_server: PostgresServer
) -> None:
    one, two = replicas
    put(one, "told", "t", 40)
    archive = one.data / "archive"
    done = run_cli(
        one.data, "gallery", "export", str(archive), "--overwrite", DATABASE_URL=postgres_server.url
    )
    assert (done.returncode, PASSWORD in done.stderr, ESCAPED in done.stderr) == (0, False, False)
    deleted = run_cli(one.data, "gallery", "delete", "told", DATABASE_URL=postgres_server.url)
    assert deleted.returncode == 0, deleted.stderr
    within(1.0, lambda: two.client.get("/gallery/items/told").status_code == 404)
    refused = run_cli(one.data, "gallery", "import", str(archive), DATABASE_URL=postgres_server.url)
    assert "import into an empty one" in refused.stderr
    assert "PostgreSQL at 127.0.0.1" in refused.stderr
    file = run_cli(one.data / "file", "gallery", "import", str(archive))
    assert file.returncode == 0, file.stderr


def test_without_a_secret_no_replica_starts(replicas: tuple[Server, Server]) -> None:
    url = "postgresql://user:hidden@host/db"
    done = run_cli(replicas[0].data, "gallery", "names", DATABASE_URL=url, SECRET=None)
    assert done.returncode == 2
    assert "DATABASE_URL needs SECRET or SECRET_FILE" in done.stderr
    assert "hidden" not in done.stderr


def test_while_the_server_is_away_queries_are_answered_and_changes_told_to_come_back(
    replicas: tuple[Server, Server], postgres_server: PostgresServer
) -> None:
    one, two = replicas
    put(one, "last", "x", 50)
    within(1.0, lambda: answer(two, 1)["gallery"] == answer(one, 1)["gallery"])
    known = [answer(server, row) for server in replicas for row in (51, 52)]
    postgres_server.kill()
    within(5.0, lambda: all(server.metric("retrievalguard_gallery_cut_off") for server in replicas))
    assert [answer(server, row) for server in replicas for row in (51, 52)] == known
    assert answer(two, 53)["gallery"] == known[0]["gallery"], "one that was never asked before"
    for refused in (
        put(one, "late", "y", 54), one.client.delete("/gallery/items/last"),
        two.client.get("/gallery/items/last"),
    ):  # fmt: skip
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert PASSWORD not in refused.text
    postgres_server.start()
    within(10.0, lambda: put(one, "late", "y", 54).status_code in (200, 201))
    within(2.0, lambda: answer(two, 53)["gallery"] == answer(one, 53)["gallery"])
    assert answer(two, 53)["gallery"]["version"] > known[0]["gallery"]["version"]
    assert one.client.get("/readyz").status_code == 200
    for server in replicas:
        log = server.log.read_text()
        assert PASSWORD not in log
        assert ESCAPED not in log
