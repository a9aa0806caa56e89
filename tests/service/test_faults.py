"""What happens to a server while it runs: its disk is full, its model file changes, its cache is emptied."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import model_folder
from service.retriever import Retriever
from tests.service.processes import RedisServer, Server, copy_gallery, serving, spawn_cli, wait_for
from tests.service.queries import Json, answer, claims, digit

ROWS = range(60, 66)
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def told(body: Json) -> Json:
    """The answer, whatever the version of the gallery is by now."""
    return {name: value for name, value in claims(body).items() if name != "gallery"}


@pytest.fixture(scope="module")
def known(demo_retriever: Retriever) -> dict[int, Json]:
    """The answers without any server, by query."""
    return {row: told(demo_retriever.retrieve(digit(row)).model_dump(mode="json")) for row in ROWS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that may be changed."""
    return Path(shutil.copytree(model_folder("digits-cnn"), tmp_path_factory.mktemp("models") / "digits-cnn"))


@pytest.fixture(scope="module")
def server(demo_gallery: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own on that model, whose gallery may be changed."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("faults"))
    with serving(data, MODEL=model, GALLERY_WRITES="loopback") as found:
        yield found


def test_on_a_full_disk_changes_are_refused_queries_go_on_and_all_is_well_after(
    server: Server, known: dict[int, Json]
) -> None:
    def put(name: str) -> int:
        files = {"image": (f"{name}.png", digit(1), "image/png")}
        return server.client.put(f"/gallery/items/{name}", params={"label": "1"}, files=files).status_code

    # No file may grow beyond what it has: what a full disk is to SQLite.
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        assert put("refused") == 503
        assert server.client.get("/gallery/items/refused").status_code == 404
        assert told(answer(server.client, digit(ROWS[0]))) == known[ROWS[0]]
        assert server.client.get("/readyz").status_code == 200
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
    assert put("kept") == 201
    assert server.client.get("/gallery/items/refused").status_code == 404
    assert server.client.delete("/gallery/items/kept").json()["deleted"] == 1


def test_a_model_file_that_changes_changes_no_answer_and_is_refused_by_the_next_start(
    server: Server, model: Path, known: dict[int, Json]
) -> None:
    weights = model / "weights.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:  # the same file, not another in its place
        file.seek(size // 2)
        file.write(bytes(size // 4))
    assert told(answer(server.client, digit(ROWS[1]))) == known[ROWS[1]]
    weights.write_bytes(b"")
    assert told(answer(server.client, digit(ROWS[2]))) == known[ROWS[2]]
    shutil.rmtree(model)
    assert told(answer(server.client, digit(ROWS[3]))) == known[ROWS[3]]
    assert server.client.get("/readyz").status_code == 200

    shutil.copytree(model_folder("digits-cnn"), model)
    with weights.open("r+b") as file:
        file.write(b"x")
    ended = spawn_cli(server.data, "serve", MODEL=model)
    assert ended.returncode == 1
    assert "the file was changed or damaged" in ended.stderr


def test_a_redis_that_is_emptied_or_holds_what_another_program_wrote_changes_no_answer(
    redis_backed_server: Server, redis_server: RedisServer, known: dict[int, Json]
) -> None:
    client, row = redis_backed_server.client, ROWS[4]

    def kept() -> bool:
        return bool(answer(client, digit(row))["cache"] == "hit")

    wait_for(kept)
    with redis_server.client() as control:
        control.flushall()
        assert told(answer(client, digit(row))) == known[row]
        wait_for(kept)
        for key in control.keys("retrievalguard:*"):
            control.set(key, b"another program's value")
        assert told(answer(client, digit(row))) == known[row]
    wait_for(kept)
    assert redis_backed_server.metric("retrievalguard_cache_failures_total", reason="rejected") > 0
