"""Keys of some named galleries: what they reach, and that nothing else is to be learned by any route."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import is_name
from retrievalguard.client import Client, MissingItem
from service.http.access import needed
from service.keys import Keys, KeysUnusable, is_gallery
from tests.service.processes import Server, run_cli, serving
from tests.service.queries import Json, digit, events

# In all that belongs to the other tenant: ids, labels, metadata, names of files.
SECRET = "moriarty"
OURS = [f"birds/{row}" for row in range(6)]
QUERY = {"image": base64.b64encode(digit(0)).decode(), "max_samples": 256}


class Tenant:
    """A server that two tenants share, what a key of one of them gets of it, and the key of all."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self.server = server
        self.headers = {
            "x-api-key": keys.create("team", ["retrieve", "gallery:read"], galleries=["birds"])[1]
        }
        self.admin = {"x-api-key": keys.create("admin", ["admin"])[1]}

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """The answer to the tenant's key; nothing in it may be of the other tenant."""
        sent["headers"] = sent.get("headers", {}) | self.headers
        response = self.server.client.request(method, path, **sent)
        assert SECRET not in response.text + str(response.headers), f"{method} {path}: {response.text}"
        return response

    def change(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """The answer to the key of all."""
        response = self.server.client.request(method, path, headers=self.admin, **sent)
        assert response.is_success, response.text
        return response


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    data = tmp_path_factory.mktemp("tenants")
    keys = Keys(data / "keys.json")
    with serving(data, ATTACK_SECONDS=0.2) as server:
        found = Tenant(server, keys)

        def item(id_: str, row: int, label: str, team: str, **more: object) -> Json:
            image = base64.b64encode(digit(row)).decode()
            return {"image": image, "id": id_, "label": label, "metadata": {"team": team} | more}

        items = [item(id_, row, str(row % 3), "birds") for row, id_ in enumerate(OURS)]
        # The very images of ours, under other labels; a shared one; and one nearer to the query than any.
        items += [item(f"{SECRET}/{row}", row, SECRET, SECRET, path=f"{SECRET}.png") for row in range(6)]
        items += [item(f"{SECRET}/same label", 8, "0", SECRET)]
        assert not [
            one
            for one in found.change("POST", "/gallery/items", json=items).json()["results"]
            if one["problem"]
        ]
        for name, team in (("birds", "birds"), (SECRET, SECRET)):
            found.change("PUT", f"/galleries/{name}", json={"filter": {"metadata.team": team}})
        found.change("POST", f"/gallery/snapshots?name={SECRET}")
        found.change("POST", f"/gallery/jobs?prefix={SECRET}/job/", content=b"no archive")
        yield found


def refused(response: httpx.Response) -> str:
    assert (response.status_code, response.json()["title"]) == (403, "Not allowed"), response.text
    return str(response.json()["detail"])


def test_a_key_asks_its_gallery_and_no_other(tenant: Tenant) -> None:
    found = tenant.ask("POST", "/retrieve?gallery=birds&top_k=20&explain=true", json=QUERY).json()
    assert {found["neighbor"]["id"], *(one["id"] for one in found["neighbors"])} == set(OURS)
    assert found["explanation"]["rival"]["id"] in OURS
    assert (found["gallery"]["size"], found["gallery"]["matching"]) == (6, 6)
    # The same question by who may see all of it is the same answer, but for how large the gallery is.
    other = tenant.change("POST", "/retrieve?gallery=birds&top_k=20&explain=true", json=QUERY).json()
    assert other["gallery"]["size"] == 13
    assert other["certificate"] == found["certificate"]
    for name in (None, "default", SECRET, "nobodys"):
        options = {} if name is None else {"gallery": name}
        response = tenant.server.client.post("/retrieve", json=QUERY | options, headers=tenant.headers)
        assert "the gallery birds alone" in refused(response)


@pytest.mark.parametrize(
    "wider",
    [
        {},
        {"metadata.team": {"$exists": True}},
        {"$or": [{"metadata.team": SECRET}, {"id": {"$prefix": ""}}]},
        {"$not": {"metadata.team": "birds"}}, {"id": {"$prefix": SECRET}}, {"label": SECRET},
    ],
)  # fmt: skip
def test_a_filter_of_a_tenants_own_only_narrows(tenant: Tenant, wider: Json) -> None:
    response = tenant.ask("POST", "/retrieve?gallery=birds&top_k=20", json=QUERY | {"filter": wider})
    if response.status_code == 409:
        assert response.json()["detail"].startswith("none of the items match")
    else:
        found = response.json()
        assert {found["neighbor"]["id"], *(one["id"] for one in found["neighbors"])} <= set(OURS)


def test_batches_streams_and_attacks_are_asked_the_same_way(tenant: Tenant) -> None:
    queries = [QUERY | {"gallery": name} for name in ("birds", SECRET, "default")] + [QUERY]
    body = tenant.server.client.post("/retrieve/batch", json=queries, headers=tenant.headers).json()
    own, *others = body["results"]
    assert own["answer"]["neighbor"]["id"] in OURS
    assert own["answer"]["gallery"]["size"] == 6
    assert [one["problem"]["status"] for one in others] == [403] * 3
    stream = {"headers": {"accept": "text/event-stream"}}
    told = events(tenant.ask("POST", "/retrieve?gallery=birds&alpha=0.01", json=QUERY, **stream))
    assert told[-1][1]["gallery"]["size"] == 6
    assert all(event["neighbor"]["id"] in OURS for _, event in told)
    refused(tenant.ask("POST", "/retrieve", json=QUERY, **stream))
    found = tenant.ask("POST", "/attack?size=0.5&gallery=birds", json=QUERY).json()
    assert {found[name]["neighbor"]["id"] for name in ("answer", "moved")} <= set(OURS)
    assert {found[name]["gallery"]["size"] for name in ("answer", "moved")} == {6}
    refused(tenant.ask("POST", "/attack?size=0.5", json=QUERY))


def test_a_key_lists_and_reads_what_is_in_its_gallery(tenant: Tenant) -> None:
    assert [one["name"] for one in tenant.ask("GET", "/galleries").json()["galleries"]] == ["birds"]
    found = tenant.ask("GET", "/galleries/birds").json()
    assert (found["size"], found["labels"]) == (6, {"0": 2, "1": 2, "2": 2})
    page = tenant.ask("GET", "/galleries/birds/items?limit=4").json()
    rest = tenant.ask("GET", f"/galleries/birds/items?limit=4&cursor={page['next']}").json()
    assert [one["id"] for one in page["items"] + rest["items"]] == OURS
    assert rest["next"] is None
    some = tenant.ask("GET", "/galleries/birds/items?label=0").json()["items"]
    assert [one["id"] for one in some] == ["birds/0", "birds/3"]
    response = tenant.ask("GET", "/galleries/birds/items/birds/1")
    whole = tenant.change("GET", "/gallery/items/birds/1")
    assert (response.json(), response.headers["etag"]) == (whole.json(), whole.headers["etag"])
    image = tenant.server.client.get("/galleries/birds/images/birds/1", headers=tenant.headers)
    assert image.content == digit(1)
    with Client(tenant.server.url, key=tenant.headers["x-api-key"]) as client:
        assert [one.id for one in client.items(gallery="birds")] == OURS
        assert client.item_image("birds/1", gallery="birds") == digit(1)
        with pytest.raises(MissingItem):
            client.item(f"{SECRET}/1", gallery="birds")


def test_an_item_of_another_gallery_is_as_one_that_is_not_there(tenant: Tenant) -> None:
    for kind in ("items", "images"):
        there, nowhere = (
            tenant.server.client.get(f"/galleries/birds/{kind}/{id_}", headers=tenant.headers)
            for id_ in (f"{SECRET}/1", "nothing!/1")
        )
        assert (there.status_code, there.json()["type"]) == (404, nowhere.json()["type"])
        assert there.json()["detail"].replace(f"{SECRET}/1", "") == nowhere.json()["detail"].replace(
            "nothing!/1", ""
        )
    assert tenant.change("GET", f"/galleries/{SECRET}/items/{SECRET}/1").status_code == 200


def test_an_item_that_leaves_a_gallery_is_gone_for_its_key_at_once(tenant: Tenant) -> None:
    tenant.change("PATCH", "/gallery/items/birds/5", json={"metadata": {"team": SECRET}})
    for path in ("/galleries/birds/items/birds/5", "/galleries/birds/images/birds/5"):
        assert tenant.ask("GET", path).status_code == 404
    assert tenant.ask("GET", "/galleries/birds").json()["size"] == 5
    tenant.change("PATCH", "/gallery/items/birds/5", json={"metadata": {"team": "birds"}})
    assert tenant.ask("GET", "/galleries/birds/items/birds/5").status_code == 200


OPEN = {
    ("POST", "/retrieve"), ("POST", "/retrieve/batch"), ("POST", "/attack"), ("GET", "/model"),
    ("POST", "/model/input"), ("GET", "/galleries"), ("GET", "/galleries/{name}"),
    ("GET", "/galleries/{name}/items"), ("GET", "/galleries/{name}/items/{item_id}"),
    ("GET", "/galleries/{name}/images/{item_id}"),
}  # fmt: skip


def test_every_other_route_refuses_such_a_key_and_none_tells_of_the_other_tenant(tenant: Tenant) -> None:
    document = tenant.server.client.get("/openapi.json").json()
    job = tenant.change("GET", "/gallery/jobs").json()["jobs"][0]["id"]
    tried = set()
    for path, operations in document["paths"].items():
        for method in map(str.upper, operations):
            for name in ("birds", SECRET):
                real = (
                    path.replace("{name}", name).replace("{item_id}", f"{SECRET}/1").replace("{job_id}", job)
                )
                response = tenant.server.client.request(method, real, headers=tenant.headers, json={})
                if needed(method, real) is None:
                    continue
                if (method, path) not in OPEN or (name == SECRET and "{name}" in path):
                    assert response.status_code == 403, f"{method} {real}: {response.text}"
                    if f"{SECRET}" in response.text:
                        raise AssertionError(f"{method} {real} tells of the other tenant: {response.text}")
                elif method == "GET" and "{item_id}" not in path:
                    assert response.status_code == 200, f"{method} {real}: {response.text}"
                    assert SECRET not in response.text
                tried.add((method, path))
    assert tried >= OPEN
    assert ("GET", "/gallery/snapshots/{name}") in tried
    for path in (  # spellings of what is refused, and of what is not there
        "/v1/gallery/items", "/gallery/items/", "/galleries/birds/../../gallery/items",
        f"/galleries/birds%2F..%2F{SECRET}", f"/galleries/{SECRET}/items", f"/v1/galleries/{SECRET}",
        f"/galleries/birds/items/..%2F..%2F{SECRET}", "/galleries//items",
    ):  # fmt: skip
        response = tenant.server.client.get(path, headers=tenant.headers)
        assert response.status_code in (403, 404), f"{path}: {response.text}"
        assert f"{SECRET}/" not in response.text.replace(path, "")


def test_whoever_has_no_key_is_not_told_how_many_items_there_are(tenant: Tenant) -> None:
    assert tenant.server.client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"model": "ok", "gallery": "ok"},
    }


def test_such_a_key_only_reads(tmp_path: Path) -> None:
    made = run_cli(
        tmp_path, "keys", "create", "team", "--scope", "retrieve", "--gallery", "a", "--gallery", "b"
    )
    assert made.returncode == 0
    keys = Keys(tmp_path / "keys.json")
    key = keys.find(made.stdout.strip())
    assert key is not None
    assert key.galleries == ("a", "b")
    assert run_cli(tmp_path, "keys", "list").stdout.rstrip().endswith("\tgalleries a b")
    for scope in ("gallery:write", "metrics", "admin"):
        done = run_cli(tmp_path, "keys", "create", "team", "--scope", scope, "--gallery", "a")
        assert done.returncode == 1
        assert "only reads" in done.stderr
        with pytest.raises(ValueError, match="no scopes but retrieve"):
            keys.create("team", [scope], galleries=["a"])  # type: ignore[list-item]
    for name in ("default", "", ".", "a/b", "a\n", "x" * 101):
        done = run_cli(tmp_path, "keys", "create", "team", "--scope", "retrieve", "--gallery", name)
        assert done.returncode == 1
        assert "no name of a named gallery" in done.stderr
    with pytest.raises(ValueError, match="at least 1 item"):
        keys.create("team", ["retrieve"], galleries=[])
    assert keys.all() == (key,)


def test_a_file_of_keys_that_was_made_to_allow_more_is_damaged(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.create("team", ["retrieve"], galleries=["a"])
    document = json.loads(keys.path.read_text())
    for change in ({"scopes": ["admin"]}, {"galleries": []}, {"galleries": ["default"]}, {"galleries": "a"}):
        forged = document | {"keys": [document["keys"][0] | change]}
        keys.path.write_text(json.dumps(forged))
        with pytest.raises(KeysUnusable, match="damaged"):
            Keys(keys.path).find("rg_0_0")


def test_a_file_without_such_keys_is_as_older_versions_wrote_it(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.create("one", ["retrieve"])
    (kept,) = json.loads(keys.path.read_text())["keys"]
    assert kept.keys() == {"id", "name", "digest", "scopes", "created"}


@given(st.text(max_size=4) | st.sampled_from(["default", "a" * 100, "a" * 101, "a.b-c_d", "a\n"]))
def test_a_key_may_be_for_what_a_filter_may_be_called(name: str) -> None:
    assert is_gallery(name) == is_name(name)
