"""Items over HTTP: added in every form, found at once, replaced, revised, deleted, listed; and by whom."""

import base64
import json
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from starlette.requests import Request

from index.changes import DAMAGED
from service.http.changing import condition
from service.images import png
from tests.service.hostile import hostile_requests
from tests.service.processes import Server
from tests.service.queries import Json, answer, digit, whole
from tests.service.raw import exchange


@pytest.fixture
def server(empty_server: Server) -> Server:
    """One that may be written to from this machine."""
    return empty_server


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client


def add(client: httpx.Client, id_: str, label: str, row: int = 0) -> httpx.Response:
    return client.post("/gallery/items", params={"id": id_, "label": label}, content=digit(row))


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("urn:retrievalguard:problem:")


def ids(client: httpx.Client, **options: Any) -> list[str]:
    return [item["id"] for item in client.get("/gallery/items", params=options).json()["items"]]


def in_form(form: str, fields: Json, image: bytes) -> Json:
    """The arguments of a request with an item in one of the forms."""
    encoded = base64.b64encode(image).decode()
    texts = fields | ({"metadata": json.dumps(fields["metadata"])} if "metadata" in fields else {})
    return {
        "raw": {"params": texts, "content": image, "headers": {"content-type": "image/png"}},
        "bytes": {"params": texts, "content": image},
        "multipart": {"data": texts, "files": {"image": image}},
        "base64": {"json": fields | {"image": encoded}},
        "data URI": {"json": fields | {"image": f"data:image/png;base64,{encoded}"}},
    }[form]


@pytest.mark.parametrize("form", ["raw", "bytes", "multipart", "base64", "data URI"])
def test_an_item_is_added_in_every_form_and_found_at_once(client: httpx.Client, form: str) -> None:
    item: Json = {"id": "a/b ü?.png", "label": "three", "metadata": {"n": [1, None], "ü": "é"}}
    before = client.get("/gallery").json()["version"]
    response = client.post("/gallery/items", **in_form(form, item, digit(0)))
    assert response.status_code == 201, response.text
    assert response.json() == {"outcome": "added", "item": item, "version": before + 1, "warnings": []}
    found = answer(client, digit(0))
    assert {name: found["neighbor"][name] for name in item} == item
    assert found["gallery"] == whole(before + 1, 1)
    there = client.get(response.headers["location"])
    assert there.json() == item
    assert there.headers["etag"] == response.headers["etag"]
    assert client.get(f"/gallery/images/{quote(item['id'])}").content == digit(0)


def test_the_very_same_item_is_no_change_and_another_of_its_id_is_refused(client: httpx.Client) -> None:
    added = add(client, "one", "3")
    again = add(client, "one", "3")
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    assert again.json()["version"] == added.json()["version"]
    assert again.headers["etag"] == added.headers["etag"]
    assert problem(add(client, "one", "4")) == (409, "item-exists")
    assert problem(add(client, "one", "3", row=1)) == (409, "item-exists")
    assert client.get("/gallery/items/one").json()["label"] == "3"


@pytest.mark.parametrize("form", ["raw", "multipart", "base64"])
def test_an_item_is_put_in_place_of_another(client: httpx.Client, form: str) -> None:
    path, fields = "/gallery/items/one", {"label": "5", "metadata": {"n": 1}}
    first = client.put(path, **in_form(form, fields, digit(0)))
    assert (first.status_code, first.json()["outcome"]) == (201, "added")
    second = client.put(path, **in_form(form, fields, digit(1)))
    assert (second.status_code, second.json()["outcome"]) == (200, "replaced")
    assert client.get("/gallery/images/one").content == digit(1)
    same = client.put(path, **in_form(form, fields, digit(1)))
    assert (same.json()["outcome"], same.json()["version"]) == ("unchanged", second.json()["version"])
    assert problem(client.put(path, **in_form(form, fields | {"id": "two"}, digit(1)))) == (
        422,
        "item-invalid",
    )


def test_a_revision_changes_label_and_metadata_and_costs_no_samples(client: httpx.Client) -> None:
    add(client, "one", "3")
    add(client, "two", "3", row=1)
    body = answer(client, digit(0))
    assert body["neighbor"]["label"] == "3"
    revised = client.patch("/gallery/items/one", json={"label": "a three"})
    assert revised.json()["version"] == body["gallery"]["version"] + 1
    again = answer(client, digit(0))
    assert (again["neighbor"]["label"], again["cache"]) == ("a three", "hit")
    assert client.patch("/gallery/items/one", json={"metadata": {"n": 1}}).json()["item"] == {
        "id": "one", "label": "a three", "metadata": {"n": 1},
    }  # fmt: skip
    assert client.patch("/gallery/items/one", json={"metadata": {"n": 1}}).json()["outcome"] == "unchanged"
    assert ids(client) == ["two", "one"]
    assert problem(client.patch("/gallery/items/three", json={"label": "x"})) == (404, "item-not-found")


def test_a_change_is_made_to_the_item_that_the_client_has_seen(client: httpx.Client) -> None:
    tag = add(client, "one", "3").headers["etag"]
    other = client.patch("/gallery/items/one", json={"label": "4"}, headers={"if-match": tag}).headers["etag"]
    assert other != tag
    stale = {"if-match": f'"x", {tag}'}
    refused = (412, "precondition-failed")
    assert problem(client.patch("/gallery/items/one", json={"label": "5"}, headers=stale)) == refused
    assert problem(client.put("/gallery/items/one?label=5", content=digit(1), headers=stale)) == refused
    assert problem(client.delete("/gallery/items/one", headers=stale)) == refused
    for header in ("*", "no tag", f"W/{other}"):
        absent = client.put("/gallery/items/two?label=5", content=digit(1), headers={"if-match": header})
        assert problem(absent) == refused
    only_new = client.put("/gallery/items/one?label=5", content=digit(1), headers={"if-none-match": "*"})
    assert problem(only_new) == refused
    assert client.get("/gallery/items/one").json()["label"] == "4"
    assert client.delete("/gallery/items/one", headers={"if-match": f'"x", {other}'}).status_code == 200
    assert problem(client.get("/gallery/items/one")) == (404, "item-not-found")
    new = client.put("/gallery/items/one?label=5", content=digit(1), headers={"if-none-match": "*"})
    assert new.status_code == 201


@pytest.mark.parametrize("header", ['""', '"\\""', '"""', 'W/""'])
def test_no_condition_names_a_damaged_item(header: str) -> None:
    headers = [(b"if-match", header.encode())]
    assert not condition(Request({"type": "http", "headers": headers}))(DAMAGED, "wanted")


def test_of_writers_who_saw_the_same_item_one_is_answered_and_the_others_are_told(
    client: httpx.Client,
) -> None:
    tag = add(client, "one", "3").headers["etag"]

    def put(label: int) -> httpx.Response:
        headers = {"if-match": tag}
        return client.put(f"/gallery/items/one?label={label}", content=digit(1), headers=headers)

    def add_two(label: int) -> httpx.Response:
        return add(client, "two", str(label))

    with ThreadPoolExecutor(6) as pool:
        for work, done, told in ((put, 200, 412), (add_two, 201, 409)):
            responses = list(pool.map(work, range(6)))
            assert sorted(response.status_code for response in responses) == [done] + 5 * [told]
            (winner,) = [response.json()["item"] for response in responses if response.status_code == done]
            assert client.get(f"/gallery/items/{winner['id']}").json() == winner


def test_items_are_deleted_by_label_and_by_prefix_in_one_change(client: httpx.Client) -> None:
    for number, id_ in enumerate(["x/1", "x/2", "x/3", "y/1"]):
        add(client, id_, str(number % 2), row=number)
    version = client.get("/gallery").json()["version"]
    both = client.delete("/gallery/items", params={"prefix": "x/", "label": "0"})
    assert both.json() == {"deleted": 2, "version": version + 1}
    assert ids(client) == ["x/2", "y/1"]
    assert client.delete("/gallery/items", params={"label": "none"}).json() == {
        "deleted": 0, "version": version + 1,
    }  # fmt: skip
    for bad in ("", "?label=", "?prefx=x&label=1", "?label=1&label=0"):
        assert problem(client.delete(f"/gallery/items{bad}")) == (422, "invalid-option")
    assert client.delete("/gallery/items?label=1").json()["deleted"] == 2
    assert ids(client) == []


def test_items_are_listed_by_page_in_the_order_of_addition(client: httpx.Client) -> None:
    names = [f"item {number}" for number in range(7)]
    for number, name in enumerate(names):
        add(client, name, str(number % 2), row=number)
    seen, cursor = list[str](), None
    while True:
        body = client.get(
            "/gallery/items", params={"limit": 3} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += [item["id"] for item in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert seen == names
    assert ids(client, label="1") == names[1::2]
    for bad in ("limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=-1", f"cursor={10**30}", "x=1"):
        assert problem(client.get(f"/gallery/items?{bad}")) == (422, "invalid-option")


def test_equal_images_of_two_labels_are_told(client: httpx.Client) -> None:
    add(client, "one", "3")
    assert add(client, "same", "3").json()["warnings"] == []
    (warning,) = add(client, "two", "5").json()["warnings"]
    assert warning == "equal images have different labels: 'one' ('3') and 'two' ('5')"


def test_a_batch_is_one_change_and_has_a_result_in_each_place(client: httpx.Client) -> None:
    add(client, "there", "3")
    add(client, "other", "3", row=1)
    version = client.get("/gallery").json()["version"]

    def item(id_: str | None, row: int, label: str = "3", **more: Any) -> Json:
        return {"image": base64.b64encode(digit(row)).decode(), "id": id_, "label": label} | more

    batch = [
        item("there", 0), item("new", 2), item("other", 5), item("new", 3), item(None, 4),
        item("blank", 4, " "), item("bad", 0, image=base64.b64encode(digit(0)[:40]).decode()),
        {"id": "none"}, 7,
        item("last", 6, metadata={"n": 1}), item("twin", 6, "4"),
    ]  # fmt: skip
    told = [
        "unchanged", "added", "item-exists", "item-exists", "item-invalid", "item-invalid", "image-damaged",
        "malformed-body", "malformed-body", "added", "added",
    ]  # fmt: skip
    response = client.post("/gallery/items", json={"items": batch})
    assert response.status_code == 200, response.text
    found = [
        one["change"]["outcome"] if one["change"] else one["problem"]["type"].rpartition(":")[2]
        for one in response.json()["results"]
    ]
    assert found == told
    assert response.json()["version"] == version + 1
    assert "equal images" in response.json()["results"][-1]["change"]["warnings"][0]
    assert ids(client) == ["there", "other", "new", "last", "twin"]
    assert answer(client, digit(2))["gallery"] == whole(version + 1, 5)
    again = client.post("/gallery/items", json=batch).json()
    assert [one["change"]["outcome"] for one in again["results"] if one["change"]] == ["unchanged"] * 4
    assert again["version"] == version + 1
    assert problem(client.post("/gallery/items", json=[item("x", 0)] * 65)) == (413, "body-too-large")


IMAGE = base64.b64encode(digit(0)).decode()
ITEM = {"image": IMAGE, "id": "one", "label": "3"}
JSON = {"headers": {"content-type": "application/json"}}
BAD: list[tuple[Json, int, str]] = [
    ({"json": ITEM | {"id": "../one"}}, 422, "item-invalid"),
    ({"json": ITEM | {"id": "a\nb"}}, 422, "item-invalid"),
    ({"json": ITEM | {"label": " "}}, 422, "item-invalid"),
    ({"json": ITEM | {"label": 3}}, 422, "item-invalid"),
    ({"json": ITEM | {"id": None}}, 422, "item-invalid"),
    ({"json": ITEM | {"metadata": [1]}}, 422, "item-invalid"),
    ({"json": ITEM | {"metadata": {"n": "x" * 70_000}}}, 422, "item-invalid"),
    ({"content": json.dumps(ITEM | {"metadata": {"n": float("nan")}}), **JSON}, 422, "item-invalid"),
    ({"content": json.dumps(ITEM | {"label": "\ud800"}), **JSON}, 422, "item-invalid"),
    ({"json": ITEM | {"labels": "3"}}, 422, "invalid-option"),
    ({"json": ITEM, "params": {"label": "4"}}, 422, "invalid-option"),
    ({"json": ITEM | {"image": "x!"}}, 400, "malformed-body"),
    ({"json": ITEM | {"image": ""}}, 400, "malformed-body"),
    ({"json": []}, 400, "malformed-body"),
    ({"json": {"items": 1}}, 400, "malformed-body"),
    ({"json": {"id": "one", "label": "3"}}, 400, "malformed-body"),
    ({"json": ITEM | {"metadata": {"n": [0] * 100_000}}}, 413, "body-too-large"),
    ({"json": ITEM | {"image": base64.b64encode(b"GIF89a").decode()}}, 415, "not-an-image"),
    ({"content": digit(0), "params": {"id": "one", "label": "3", "metadata": "{"}}, 422, "item-invalid"),
    ({"content": digit(0), "params": {"id": "one", "label": "3", "metadata": "[]"}}, 422, "item-invalid"),
    ({"content": digit(0), "params": {"id": "one"}}, 422, "item-invalid"),
    ({"content": digit(0)[:40], "params": {"id": "one", "label": "3"}}, 422, "image-damaged"),
    ({"content": b"", "params": {"id": "one", "label": "3"}}, 400, "malformed-body"),
    ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported-media-type"),
    ({"data": {"id": "one", "label": "3"}, "files": {"picture": digit(0)}}, 400, "malformed-body"),
]  # fmt: skip


def test_what_cannot_be_stored_is_refused_in_words_and_changes_nothing(client: httpx.Client) -> None:
    add(client, "there", "3", row=1)
    version = client.get("/gallery").json()["version"]
    for request, status, slug in BAD:
        response = client.post("/gallery/items", **request)
        assert problem(response) == (status, slug), (request, response.text)
        assert response.json()["detail"]
    path = "/gallery/items/there"
    assert problem(client.patch(path, json={})) == (400, "malformed-body")
    assert problem(client.patch(path, json={"label": "4", "labl": "4"})) == (422, "invalid-option")
    assert problem(client.patch(path, json={"label": "4", "id": "x"})) == (422, "item-invalid")
    assert problem(client.patch(path, json={"label": ""})) == (422, "item-invalid")
    assert problem(client.patch(path, content=b'{"label": "4"}')) == (415, "unsupported-media-type")
    assert ids(client) == ["there"]
    assert client.get("/gallery").json()["version"] == version


# --- by whom


PAGE = {"origin": "http://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}


@pytest.mark.parametrize(
    "headers",
    [
        PAGE, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1"}, {"origin": "http://["}, {"origin": ""},
        {"x-forwarded-for": "127.0.0.1"}, {"forwarded": "for=127.0.0.1"}, {"via": "1.1 proxy"},
        {"x-real-ip": "127.0.0.1"},
    ],
)  # fmt: skip
def test_neither_pages_of_others_nor_proxies_change_the_gallery(client: httpx.Client, headers: Json) -> None:
    add(client, "one", "3")
    changes = [
        ("POST", "/gallery/items?id=two&label=3", digit(1)),
        ("PUT", "/gallery/items/one?label=4", digit(1)),
        ("PATCH", "/gallery/items/one", b'{"label": "4"}'),
        ("DELETE", "/gallery/items/one", b""),
        ("DELETE", "/gallery/items?label=3", b""),
    ]
    for method, path, content in changes:
        response = client.request(method, path, content=content, headers=headers)
        assert problem(response) == (403, "changes-not-allowed")
    assert ids(client) == ["one"]
    own = {"origin": str(client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert client.patch("/gallery/items/one", json={"label": "4"}, headers=own).status_code == 200


def test_a_server_that_was_not_told_otherwise_changes_nothing(demo_server: Server) -> None:
    before = demo_server.client.get("/gallery").json()
    assert problem(add(demo_server.client, "one", "3")) == (403, "changes-not-allowed")
    assert problem(demo_server.client.delete("/gallery/items?prefix=digits")) == (403, "changes-not-allowed")
    assert demo_server.client.get("/gallery").json() == before


def test_a_page_that_has_its_name_resolve_to_this_machine_changes_nothing(
    client: httpx.Client, server: Server
) -> None:
    request = b"DELETE /gallery/items?label=3 HTTP/1.1\r\nHost: %s\r\n\r\n"
    assert exchange(server.url, request % b"evil.example", "DELETE").status == 403
    assert exchange(server.url, request % b"localhost:80", "DELETE").status == 200


TARGETS = [
    b"POST /gallery/items", b"PUT /gallery/items/x", b"PATCH /gallery/items/x", b"DELETE /gallery/items/x",
    b"POST /gallery/jobs", b"POST /gallery/snapshots", b"POST /retrieve/batch",
]  # fmt: skip


def test_what_means_harm_to_queries_does_none_to_the_gallery(client: httpx.Client, server: Server) -> None:
    add(client, "one", "3")
    statuses = Counter[int]()
    for number, bad in enumerate(hostile_requests(seed=5, count=140)):
        target = TARGETS[number % len(TARGETS)]
        content = bad.content.replace(b"POST /retrieve", target)
        found = exchange(server.url, content, target.split()[0].decode(), seconds=20, ends=not bad.whole)
        assert found.status < 500, (target, bad.kind, bad.content[:300], found.body)
        statuses[found.status] += 1
    assert {400, 404, 415, 422} <= statuses.keys(), statuses
    assert answer(client, digit(0))["neighbor"]["id"]
    assert "Traceback" not in server.log.read_text()


# --- when the machine fails


def noise(seed: int, side: int = 512) -> bytes:
    """An image file that does not shrink."""
    return png(np.random.default_rng(seed).integers(0, 256, (1, side, side), np.uint8))


def limit_files(server: Server, most: str) -> None:
    """How large a file the server may write; as on a disk that is full, SQLite cannot write on."""
    subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--fsize={most}"], check=True)


def test_a_full_disk_loses_nothing_and_the_service_goes_on(client: httpx.Client, server: Server) -> None:
    add(client, "one", "3")
    version = client.get("/gallery").json()["version"]
    limit_files(server, "200000:unlimited")
    full = client.post("/gallery/items?id=large&label=x", content=noise(1))
    assert problem(full) == (503, "gallery-failure")
    assert full.headers["retry-after"]
    assert answer(client, digit(0))["neighbor"]["id"] == "one"
    limit_files(server, "unlimited:unlimited")
    assert client.post("/gallery/items?id=large&label=x", content=noise(1)).status_code == 201
    assert ids(client) == ["one", "large"]
    assert client.get("/gallery").json()["version"] == version + 1
