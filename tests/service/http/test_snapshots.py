"""Snapshots over HTTP: made, listed, downloaded, restored while queries go on, and deleted."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from index import GalleryStore, import_gallery
from tests.service.processes import Server
from tests.service.queries import answer, claims, digit, whole

PATH = "/gallery/snapshots"


@pytest.fixture
def client(empty_server: Server) -> httpx.Client:
    """Of a server with two items, and no snapshots."""
    client = empty_server.client
    for snapshot in client.get(PATH).json()["snapshots"]:
        assert client.delete(f"{PATH}/{snapshot['name']}").status_code == 204
    add(client, "one", 0)
    add(client, "two", 1)
    return client


def add(client: httpx.Client, id_: str, row: int) -> None:
    response = client.put(f"/gallery/items/{id_}", params={"label": id_}, content=digit(row))
    assert response.status_code == 201, response.text


def refused(response: httpx.Response, status: int, slug: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"urn:retrievalguard:problem:{slug}"


def ids(client: httpx.Client) -> list[str]:
    return [item["id"] for item in client.get("/gallery/items").json()["items"]]


def test_a_snapshot_is_made_listed_downloaded_and_deleted(client: httpx.Client, tmp_path: Path) -> None:
    version = client.get("/gallery").json()["version"]
    made = client.post(PATH, params={"name": "before-work.1"})
    assert made.status_code == 201
    assert made.headers["location"] == f"{PATH}/before-work.1"
    body = made.json()
    assert (body["version"], body["items"], body["damaged"], body["damaged_vectors"]) == (version, 2, [], 0)
    unnamed = client.post(PATH).json()
    listed = {one["name"]: one for one in client.get(PATH).json()["snapshots"]}
    assert listed.keys() == {"before-work.1", unnamed["name"]}
    file = client.get(made.headers["location"])
    assert len(file.content) == listed["before-work.1"]["bytes"]
    (tmp_path / "archive").write_bytes(file.content)
    store = GalleryStore(tmp_path / "gallery.sqlite3")
    assert import_gallery(store, tmp_path / "archive") == 2
    assert store.ids() == ["one", "two"]
    store.close()
    refused(client.post(PATH, params={"name": "before-work.1"}), 409, "snapshot-exists")
    assert client.delete(made.headers["location"]).status_code == 204
    refused(client.get(made.headers["location"]), 404, "snapshot-not-found")


def test_what_is_no_name_is_refused_and_leads_nowhere(
    client: httpx.Client, empty_server: Server, tmp_path: Path
) -> None:
    for name in ("", "..", "../gallery", ".hidden", "a/b", "x" * 101, "é", "a b"):
        refused(client.post(PATH, params={"name": name}), 422, "snapshot-invalid")
    for name in ("..%2Fgallery", "none", quote("../../gallery", safe="")):
        assert client.get(f"{PATH}/{name}").status_code == 404
        assert client.delete(f"{PATH}/{name}").status_code in (404, 405)
    refused(client.post(f"{PATH}/none/restore"), 404, "snapshot-not-found")
    client.post(PATH, params={"name": "made"})
    link = empty_server.data / "snapshots" / "link.sqlite3"
    link.symlink_to(tmp_path / "elsewhere")
    for target in ("nowhere", "made.sqlite3"):
        (tmp_path / "elsewhere").unlink(missing_ok=True)
        (tmp_path / "elsewhere").symlink_to(link.with_name(target))
        assert client.get(f"{PATH}/link").status_code == 404
        refused(client.post(PATH, params={"name": "link"}), 409, "snapshot-exists")
        assert [snapshot["name"] for snapshot in client.get(PATH).json()["snapshots"]] == ["made"]
    link.unlink()
    refused(client.post(PATH, params={"nam": "x"}), 422, "invalid-option")


def test_a_snapshot_takes_the_place_of_the_gallery_and_queries_never_see_a_half(client: httpx.Client) -> None:
    expected = answer(client, digit(0))
    client.post(PATH, params={"name": "good"})
    client.delete("/gallery/items/one")
    add(client, "three", 2)
    add(client, "four", 3)
    version = client.get("/gallery").json()["version"]
    sizes, over = set[tuple[int, int]](), threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            while not over.is_set():
                found = answer(other, digit(0))["gallery"]
                sizes.add((found["version"], found["size"]))

    watching = threading.Thread(target=watch)
    watching.start()
    restored = client.post(f"{PATH}/good/restore")
    over.set()
    watching.join()
    assert restored.json() == {"version": version + 1, "items": 2}
    assert sizes <= {(version, 3), (version + 1, 2)}
    assert ids(client) == ["one", "two"]
    again = answer(client, digit(0))
    assert claims(again) == claims(expected) | {"gallery": whole(version + 1, 2)}


def test_named_galleries_come_back_with_a_snapshot(client: httpx.Client) -> None:
    assert client.put("/galleries/ones", json={"filter": {"label": "one"}}).status_code == 201
    assert client.post(PATH, params={"name": "named"}).status_code == 201
    assert client.put("/galleries/ones", json={"filter": {"label": "two"}}).status_code == 200
    assert client.put("/galleries/later", json={"filter": {}}).status_code == 201
    assert answer(client, digit(0), gallery="ones")["neighbor"]["id"] == "two"
    assert client.post(f"{PATH}/named/restore").status_code == 200
    assert [one["name"] for one in client.get("/galleries").json()["galleries"]] == ["default", "ones"]
    assert answer(client, digit(0), gallery="ones")["neighbor"]["id"] == "one"
    assert client.delete("/galleries/ones").status_code == 204


def test_a_snapshot_of_another_model_says_so_or_is_embedded(
    client: httpx.Client, empty_server: Server
) -> None:
    client.post(PATH, params={"name": "foreign"})
    file = empty_server.data / "snapshots" / "foreign.sqlite3"
    with closing(sqlite3.connect(file)) as db:
        db.execute("DELETE FROM vectors WHERE row = (SELECT row FROM items WHERE id = 'one')")
        db.commit()
    client.delete("/gallery/items?label=one")
    refused(client.post(f"{PATH}/foreign/restore"), 409, "snapshot-of-another-model")
    assert ids(client) == ["two"]
    assert client.post(f"{PATH}/foreign/restore", params={"embed": "true"}).json()["items"] == 2
    assert answer(client, digit(0))["neighbor"]["id"] == "one"


def test_a_damaged_snapshot_changes_nothing(client: httpx.Client, empty_server: Server) -> None:
    client.post(PATH, params={"name": "bad"})
    file = empty_server.data / "snapshots" / "bad.sqlite3"
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE items SET label = 'other' WHERE id = 'one'")
        db.commit()
    before = client.get("/gallery").json()
    refused(client.post(f"{PATH}/bad/restore"), 503, "gallery-failure")
    file.write_bytes(file.read_bytes()[:5_000])
    refused(client.post(f"{PATH}/bad/restore"), 503, "gallery-failure")
    assert client.get("/gallery").json() == before
    assert not list(empty_server.data.glob(".gallery-restore-*"))
