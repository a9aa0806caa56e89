"""What is refused, however late, changes nothing: not the gallery, its names, its jobs or its snapshots."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.keys import Keys
from tests.service.archives import zipped
from tests.service.processes import Server, run_cli, serving
from tests.service.queries import Json, digit

IMAGE = base64.b64encode(digit(0)).decode()
ITEM = {"image": IMAGE, "id": "new", "label": "3"}
LIMITS = {
    "MAX_FILTER_BYTES": 0, "MAX_GALLERIES": 1, "MAX_SNAPSHOTS": 1, "MAX_JOBS": 1, "BATCH_LIMIT": 2,
    "MAX_METADATA_BYTES": 100, "MAX_NAME_LENGTH": 20, "MAX_ARCHIVE_BYTES": 2_000, "MAX_BODY_BYTES": 20_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one item, one named gallery and one snapshot, and no room for more of these two."""
    data = tmp_path_factory.mktemp("refused")
    (data / "root").mkdir()
    with serving(data, GALLERY_WRITES="loopback", JOBS_ROOT=data / "root", **LIMITS) as found:
        client = found.client
        for response in (
            client.put('/gallery/items/there?label=3&metadata={"shop":7}', content=digit(1)),
            client.put("/galleries/threes", json={"filter": {"label": "3"}}),
            client.post("/gallery/snapshots?name=one"),
        ):
            assert response.is_success, response.text
        yield found


def kept(server: Server) -> tuple[list[Json], list[Any]]:
    """All that may be changed, as clients see it, and the files of jobs, snapshots and keys."""
    paths = ("/gallery", "/gallery/items", "/galleries", "/gallery/jobs", "/gallery/snapshots")
    seen = [server.client.get(path).json() for path in paths]
    files = [path for name in ("jobs", "snapshots") for path in (server.data / name).rglob("*")]
    return seen, [(path, path.stat().st_mtime_ns) for path in sorted(files)]


REFUSED: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "a filter that is too large to read": (
        "PUT", "/galleries/threes", {"json": {"filter": {"metadata.shop": 7}}}, 422),
    "the same under a new name": ("PUT", "/galleries/new", {"json": {"filter": {"id": "there"}}}, 422),
    "one gallery too many": ("PUT", "/galleries/new", {"json": {"filter": {"label": "3"}}}, 409),
    "a gallery with an unknown option": (
        "PUT", "/galleries/threes?dry_run=1", {"json": {"filter": {"label": "4"}}}, 422),
    "a gallery kept under a condition": ("DELETE", "/galleries/threes?label=4", {}, 422),
    "an image that is none": ("PUT", "/gallery/items/there?label=4", {"content": b"none"}, 415),
    "an image cut short": ("PUT", "/gallery/items/there?label=4", {"content": digit(1)[:60]}, 422),
    "an id that is not the URL's": ("PUT", "/gallery/items/there", {"json": ITEM}, 422),
    "no label": ("PUT", "/gallery/items/there", {"content": digit(2)}, 422),
    "metadata that are too large": (
        "PUT", "/gallery/items/there", {"json": {"image": IMAGE, "label": "3", "metadata": {"a": "x" * 100}}},
        422),
    "a condition that does not hold": (
        "PUT", "/gallery/items/there?label=4", {"content": digit(2), "headers": {"if-match": '"none"'}}, 412),
    "an id that another has": ("POST", "/gallery/items?id=there&label=4", {"content": digit(2)}, 409),
    "a batch over the limit": ("POST", "/gallery/items", {"json": {"items": [ITEM] * 3}}, 413),
    "a batch with something beside it": ("POST", "/gallery/items", {"json": {"items": [ITEM], "x": 1}}, 400),
    "a label that is too long": ("PATCH", "/gallery/items/there", {"json": {"label": "x" * 21}}, 422),
    "metadata after a good label": (
        "PATCH", "/gallery/items/there", {"json": {"label": "4", "metadata": {"a": "x" * 100}}}, 422),
    "a revision of nothing": ("PATCH", "/gallery/items/nothing", {"json": {"label": "4"}}, 404),
    "an item kept under a condition": ("DELETE", "/gallery/items/there?label=4", {}, 422),
    "a deletion of everything": ("DELETE", "/gallery/items?prefix=", {}, 422),
    "a deletion with a misspelt condition": ("DELETE", "/gallery/items?label=3&prefx=a", {}, 422),
    "a snapshot that is there": ("POST", "/gallery/snapshots?name=one", {}, 409),
    "one snapshot too many": ("POST", "/gallery/snapshots?name=two", {}, 409),
    "a snapshot that leads outside": ("POST", "/gallery/snapshots?name=../two", {}, 422),
    "a snapshot kept under a condition": ("DELETE", "/gallery/snapshots/one?older=7d", {}, 422),
    "a restore that is to do less": ("POST", "/gallery/snapshots/one/restore?names=false", {}, 422),
    "a restore of nothing": ("POST", "/gallery/snapshots/none/restore", {}, 404),
    "a job with an impossible prefix": (
        "POST", "/gallery/jobs?prefix=../", {"content": zipped({"3/a.png": digit(0)})}, 422),
    "a job with a prefix longer than ids": (
        "POST", f"/gallery/jobs?prefix={'x' * 20}", {"content": zipped({"3/a.png": digit(0)})}, 422),
    "a job of a folder outside": ("POST", "/gallery/jobs?folder=..", {}, 422),
    "a job of a folder and an archive": ("POST", "/gallery/jobs?folder=.", {"content": b"x"}, 400),
    "a job that is too large": ("POST", "/gallery/jobs", {"content": bytes(2_001)}, 413),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(server: Server, name: str) -> None:
    method, path, sent, status = REFUSED[name]
    before = kept(server)
    response = server.client.request(method, path, **sent)
    assert response.status_code == status, response.text
    assert response.json()["detail"]
    assert kept(server) == before


def test_what_is_wrong_with_one_item_keeps_no_other_out_and_changes_nothing_of_its_own(
    server: Server,
) -> None:
    bad = [{"image": IMAGE, "id": "there", "label": "4"}, ITEM | {"metadata": {"a": "x" * 100}}]
    before = kept(server)
    results = server.client.post("/gallery/items", json={"items": bad}).json()["results"]
    assert [one["problem"]["status"] for one in results] == [409, 422]
    assert kept(server) == before
    (good, _) = server.client.post("/gallery/items", json={"items": [ITEM, bad[0]]}).json()["results"]
    assert good["change"]["outcome"] == "added"
    assert server.client.get("/gallery/items/there").json()["label"] == "3"
    assert server.client.delete("/gallery/items/new").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        ["--scope", "gallery:wrong"],
        ["--scope", "retrieve", "--requests", "0"],
        ["--scope", "retrieve", "--samples", "-1"],
        ["--scope", "retrieve", "--scope", "everything"],
    ],
)
def test_a_key_that_is_refused_is_not_made(tmp_path: Path, wrong: list[str]) -> None:
    done = run_cli(tmp_path, "keys", "create", "team", *wrong)
    assert done.returncode != 0
    assert done.stdout == ""
    assert Keys(tmp_path / "keys.json").all() == ()
    assert not (tmp_path / "keys.json").exists()


def test_the_table_names_every_route_that_changes_anything(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    changing = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if method != "get" and path.startswith("/galler")
    }
    tried = {(method, httpx.URL(path).path) for method, path, _, _ in REFUSED.values()}

    def matches(path: str, template: str) -> bool:
        ours, theirs = path.split("/"), template.split("/")
        return len(ours) == len(theirs) and all(
            one == other or other.startswith("{") for one, other in zip(ours, theirs, strict=True)
        )

    missing = [
        (method, template)
        for method, template in changing
        if not any(verb == method and matches(path, template) for verb, path in tried)
    ]
    assert missing == [("DELETE", "/gallery/jobs/{job_id}")], json.dumps(missing)
