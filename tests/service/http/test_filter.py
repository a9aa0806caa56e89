"""Filters and named galleries, over HTTP and on the command line: what they leave answers, nothing else."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from index import GalleryStore
from models.noise import on_grid
from retrievalguard.client import Answer, BadInput, Client, ConflictingChange, MissingItem
from service.errors import TooManyGalleries
from service.gallery.named import FilterLimits, NamedGalleries
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from tests.service.processes import Server, copy_gallery, emptied, run_cli
from tests.service.queries import Json, answer, claims, digit, events, tensor

ITEMS = 60
PIXELS = {"pixels": tensor(0).astype(float).tolist()}


@pytest.fixture(scope="module")
def server(own_gallery_server: Server) -> Server:
    """Digits 0 to 5 with a shop, a price and tags, half of them in shop 1."""
    found = emptied(own_gallery_server)
    items = [
        {"image": base64.b64encode(digit(row)).decode(), "id": f"shop{row % 2}/{row}",
         "label": str(row % 6), "metadata": {"price": row, "tags": ["new"] if row < 20 else []}}
        for row in range(ITEMS)
    ]  # fmt: skip
    added = found.client.post("/gallery/items", json={"items": items})
    assert added.status_code == 200, added.text
    return found


@pytest.fixture(scope="module")
def client(server: Server) -> httpx.Client:
    return server.client


def filtered(client: httpx.Client, document: Any, row: int = 3, **options: Any) -> Json:
    body = {"pixels": tensor(row).astype(float).tolist(), "filter": document, **options}
    response = client.post("/retrieve", json=body)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def refused(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["type"].removeprefix("urn:retrievalguard:problem:"), body["detail"]


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"id": {"$prefix": "shop1/"}}, range(1, ITEMS, 2)),
        ({"metadata.price": {"$gte": 10, "$lt": 20}}, range(10, 20)),
        ({"metadata.tags": "new", "label": {"$ne": "3"}}, [row for row in range(20) if row % 6 != 3]),
        ({"$or": [{"label": "0"}, {"id": "shop1/1"}]}, [1, *range(0, ITEMS, 6)]),
        (
            {"metadata.weight": {"$exists": False}, "$not": {"metadata.tags": {"$in": ["new"]}}},
            range(20, ITEMS),
        ),
    ],
)
def test_only_what_matches_answers(client: httpx.Client, document: Json, wanted: Any) -> None:
    body = filtered(client, document, top_k=100, explain=True)
    found = [body["neighbor"], *body["neighbors"]]
    assert sorted(int(item["id"].partition("/")[2]) for item in found) == sorted(wanted)
    assert body["gallery"]["matching"] == len(list(wanted))
    assert body["gallery"]["size"] == ITEMS
    rival = body["explanation"]["rival"]
    assert rival["id"] in {item["id"] for item in found if item["label"] != body["neighbor"]["label"]}
    unfiltered = answer(client, digit(3))
    assert unfiltered["gallery"]["matching"] is None


def test_distances_are_those_of_the_whole_gallery(client: httpx.Client) -> None:
    """A filter takes items away, and moves none: blended with all of their label they stay."""
    everything = filtered(client, {}, top_k=ITEMS)
    known = {item["id"]: item["distance"] for item in [everything["neighbor"], *everything["neighbors"]]}
    some = filtered(client, {"metadata.price": {"$gte": 40}}, top_k=ITEMS)
    for item in [some["neighbor"], *some["neighbors"]]:
        assert item["distance"] == known[item["id"]]


def test_a_filter_may_come_in_every_form(client: httpx.Client, server: Server, tmp_path: Path) -> None:
    document = {"metadata.price": {"$lt": 30}, "label": {"$in": ["1", "2"]}}
    text, image = json.dumps(document), digit(7)
    encoded = base64.b64encode(image).decode()
    expected = claims(answer(client, image, filter=text))
    assert expected["gallery"]["matching"] == 10
    forms: list[dict[str, Any]] = [
        {"files": {"image": image}, "data": {"filter": text}},
        {"json": {"image": encoded, "filter": document}},
        {"json": {"image": encoded}, "params": {"filter": text}},
    ]
    for form in forms:
        response = client.post("/retrieve", **form)
        assert claims(response.json()) == expected, response.text
    batch = client.post("/retrieve/batch", json=[{"image": encoded}], params={"filter": text}).json()
    assert claims(batch["results"][0]["answer"]) == expected
    stream = client.post(
        "/retrieve", json={"image": encoded, "filter": document, "alpha": 0.002},
        headers={"accept": "text/event-stream"},
    )  # fmt: skip
    told = events(stream)
    assert told[-1][1]["gallery"] == expected["gallery"]
    assert all(data["neighbor"]["label"] in "12" for name, data in told if name == "round")
    with Client(server.url) as remote:
        assert claims(remote.retrieve(image, filter=document).as_dict()) == expected
        (alone,) = remote.batch([image], filter=document)
        assert isinstance(alone, Answer)
        assert claims(alone.as_dict()) == expected
        long = {"id": {"$nin": [f"{n:0100}" for n in range(999)]}}  # longer than any URL
        assert remote.retrieve(image, filter=long).gallery.matching == ITEMS
        with pytest.raises(ConflictingChange, match="none of the items"):
            remote.retrieve(image, filter={"label": "9"})
        with pytest.raises(BadInput, match="unknown"):
            remote.retrieve(image, filters=document)  # type: ignore[call-arg]
    file = tmp_path / "query.png"
    file.write_bytes(image)
    done = run_cli(server.data, "retrieve", str(file), "--filter", text, "--url", server.url)
    assert claims(json.loads(done.stdout)) == expected


def test_an_empty_text_is_no_filter(client: httpx.Client) -> None:
    """As every option that a form leaves empty is not given; an empty object is a filter that all match."""
    image = digit(8)
    bare = claims(answer(client, image))
    assert claims(answer(client, image, filter="")) == bare
    form = client.post("/retrieve", files={"image": image}, data={"filter": ""})
    assert claims(form.json()) == bare
    assert (bare["gallery"]["matching"], answer(client, image, filter="{}")["gallery"]["matching"]) == (
        None, bare["gallery"]["size"],
    )  # fmt: skip


def test_the_command_line_filters_in_its_own_process(demo_gallery: Path, tmp_path: Path) -> None:
    data, file = copy_gallery(demo_gallery, tmp_path / "data"), tmp_path / "query.png"
    file.write_bytes(digit(0))
    done = run_cli(data, "retrieve", str(file), "--filter", '{"label": "7"}', "--max-samples", "256")
    assert json.loads(done.stdout)["neighbor"]["label"] == "7"
    done = run_cli(data, "retrieve", str(file), "--filter", '{"label": 7}')
    assert done.returncode == 1
    assert done.stderr.strip() == "filter: label: is text, got a number"
    for text in ('{"label": "7"', '{"label": "7", "label": "8"}'):
        done = run_cli(data, "retrieve", str(file), "--filter", text)
        assert done.returncode == 2
        assert "the filter is no JSON" in done.stderr


def test_equal_queries_with_other_filters_share_samples_and_no_answer(client: httpx.Client) -> None:
    image = digit(11)
    whole = answer(client, image, alpha=0.003)
    assert whole["cache"] == "miss"
    seen = [whole]
    for document in (
        {"label": "1"},
        {"label": {"$ne": whole["neighbor"]["label"]}},
        {"$not": {"label": "1"}},
        {},
    ):
        text = json.dumps(document)
        body = answer(client, image, alpha=0.003, filter=text)
        assert body["timing_ms"]["certify"] > 0  # else it would be an answer that was kept
        assert claims(body) not in [claims(one) for one in seen]
        again = answer(client, image, alpha=0.003, filter=text)
        assert (again["cache"], claims(again)) == ("hit", claims(body))
        assert again["timing_ms"]["certify"] == 0
        seen.append(body)
    assert {body["cache"] for body in seen[1:]} <= {"hit", "resumed"}


def test_one_label_or_one_item_has_nothing_that_could_change_the_answer(client: httpx.Client) -> None:
    body = filtered(client, {"label": "4"})
    certificate = body["certificate"]
    assert certificate["label_radius"] == 8.0  # the diameter of the input space
    assert certificate["item_radius"] < 8.0
    body = filtered(client, {"id": "shop0/4"}, guarantee="item")
    assert body["neighbor"]["id"] == "shop0/4"
    assert body["certificate"]["item_radius"] == 8.0


def test_votes_are_counted_among_what_matches(client: httpx.Client) -> None:
    body = filtered(client, {"label": {"$in": ["1", "2"]}}, rule="vote", top_k=20)
    assert {item["label"] for item in [body["neighbor"], *body["neighbors"]]} == {"1", "2"}
    assert body["gallery"]["matching"] == 20


def test_a_changed_item_moves_from_one_filter_to_another(client: httpx.Client) -> None:
    before = filtered(client, {"metadata.price": 59})
    assert before["neighbor"]["id"] == "shop1/59"
    client.patch("/gallery/items/shop1/59", json={"metadata": {"price": 159}})
    response = client.post("/retrieve", params={"filter": '{"metadata.price": 59}'}, content=digit(3))
    assert refused(response)[:2] == (409, "filter-matches-nothing")
    assert filtered(client, {"metadata.price": 159})["neighbor"]["id"] == "shop1/59"


def test_a_named_gallery_is_asked_by_its_name(client: httpx.Client, server: Server) -> None:
    document = {"id": {"$prefix": "shop1/"}}
    made = client.put("/galleries/shop-1", json={"filter": document})
    assert (made.status_code, made.json()["filter"], made.json()["size"]) == (201, document, ITEMS // 2)
    assert made.headers["location"] == "/galleries/shop-1"
    assert client.put("/galleries/shop-1", json={"filter": document}).status_code == 200
    image = digit(5)
    body = answer(client, image, gallery="shop-1", top_k=ITEMS)
    assert body["gallery"]["name"] == "shop-1"
    assert body["gallery"]["matching"] == len(body["neighbors"]) + 1 == ITEMS // 2
    assert {item["id"][:6] for item in body["neighbors"]} == {"shop1/"}
    alone = answer(client, image, filter=json.dumps(document), top_k=ITEMS)
    assert body["certificate"] == alone["certificate"]
    assert body["neighbors"] == alone["neighbors"]
    # Both have to match; and what is added later is in it, too.
    narrowed = answer(client, image, gallery="shop-1", filter='{"label": "1"}', top_k=ITEMS)
    assert {item["label"] for item in narrowed["neighbors"]} == {"1"}
    assert narrowed["gallery"]["matching"] == ITEMS // 6
    fields = {"id": "shop1/new", "label": "new"}
    assert client.post("/gallery/items", params=fields, content=digit(99)).status_code == 201
    assert answer(client, image, gallery="shop-1")["gallery"]["matching"] == ITEMS // 2 + 1
    found = client.get("/galleries/shop-1").json()
    assert (found["filter"], found["size"], found["labels"]["new"]) == (document, ITEMS // 2 + 1, 1)
    assert client.delete("/gallery/items/shop1/new").status_code == 200
    # Another filter under this name is another gallery: no answer of the old one is given for it.
    assert client.put("/galleries/shop-1", json={"filter": {"label": "2"}}).status_code == 200
    assert answer(client, image, gallery="shop-1")["neighbor"]["label"] == "2"
    assert claims(answer(client, image, gallery="default")) == claims(answer(client, image))
    with Client(server.url) as remote:
        assert remote.galleries() == {"default": {}, "shop-1": {"label": "2"}}
        remote.put_gallery("shop-2", {"label": "3"})
        assert remote.retrieve(image, gallery="shop-2").neighbor.label == "3"
        remote.delete_gallery("shop-2")
        with pytest.raises(MissingItem, match="no gallery 'shop-2'"):
            remote.retrieve(image, gallery="shop-2")
    assert client.delete("/galleries/shop-1").status_code == 204
    assert client.get("/galleries").json() == {"galleries": [{"name": "default", "filter": {}}]}


def test_names_may_be_given_on_the_command_line(server: Server) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = run_cli(server.data, "gallery", *arguments)
        return done.returncode, done.stdout, done.stderr.strip()

    assert run("name", "cheap", '{"metadata.price": {"$lt": 9}}') == (0, "", "cheap: added")
    assert run("names") == (0, 'default\t{}\ncheap\t{"metadata.price": {"$lt": 9}}\n', "")
    assert server.client.get("/galleries/cheap").json()["size"] == 9
    assert run("unname", "cheap") == (0, "", "")
    code, _, told = run("unname", "cheap")
    assert (code, told) == (1, "there is no gallery 'cheap': see GET /galleries")
    code, _, told = run("name", "bad", '{"price": 9}')
    assert code == 1
    assert "price: no field" in told


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PUT", "/galleries/default", {"filter": {}}, (422, "gallery-invalid")),
        ("PUT", "/galleries/.hidden", {"filter": {}}, (422, "gallery-invalid")),
        ("PUT", "/galleries/" + "x" * 101, {"filter": {}}, (422, "gallery-invalid")),
        ("PUT", "/galleries/a", {"filter": {"price": 1}}, (422, "gallery-invalid")),
        ("PUT", "/galleries/a", {"filter": {}, "size": 1}, (400, "malformed-body")),
        ("PUT", "/galleries/a", [], (400, "malformed-body")),
        ("PUT", "/galleries/a?b=1", {"filter": {}}, (422, "invalid-option")),
        ("GET", "/galleries/a", None, (404, "gallery-not-found")),
        ("DELETE", "/galleries/a", None, (404, "gallery-not-found")),
        ("DELETE", "/galleries/default", None, (422, "gallery-invalid")),
        ("POST", "/retrieve?gallery=a", PIXELS, (404, "gallery-not-found")),
    ],
)
def test_what_is_no_named_gallery_is_told(
    client: httpx.Client, method: str, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert refused(client.request(method, path, json=body))[:2] == expected


def test_there_may_be_so_many_named_galleries(tmp_path: Path) -> None:
    store = GalleryStore(tmp_path / "gallery.sqlite3")
    galleries = NamedGalleries(store, FilterLimits(8, 8), most=2)
    assert [galleries.put(name, {}) for name in ("a", "b", "a")] == [True, True, False]
    with pytest.raises(TooManyGalleries, match="2 galleries"):
        galleries.put("c", {})
    galleries.delete("a")
    assert galleries.put("c", {"label": "猫"})
    assert galleries.all() == {"default": {}, "b": {}, "c": {"label": "猫"}}
    store.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("label", "filter: must be a JSON object"),
        ("[1]", "filter: must be a JSON object"),
        ('{"label": "1", "label": "2"}', "label: given more than once"),
        ('{"colour": 1}', "filter: colour: no field; known ones: id, label, metadata.NAME"),
        ('{"metadata.n": {"$regex": "a"}}', r"filter: metadata.n: $regex is no operator here"),
        ('{"metadata.n": NaN}', "filter: metadata.n: a value is text, a number, true or false"),
        ('{"label": "\\ud800"}', "filter: label: text that is no Unicode"),
        ("[" * 20_000, "filter: must be a JSON object"),
        (json.dumps({"$and": [{"label": "1"}] * 40}), "filter: more than 32 members"),
        (json.dumps({"metadata.n": {"$in": list(range(1001))}}), "filter: more than 1000 values"),
    ],
)
def test_what_is_no_filter_is_an_invalid_option(client: httpx.Client, text: str, told: str) -> None:
    response = client.post("/retrieve", files={"image": digit(0)}, data={"filter": text})
    status, slug, detail = refused(response)
    assert (status, slug) == (422, "invalid-option")
    assert told in detail


def test_the_answer_in_process_is_that_of_numpy(demo_retriever: Retriever) -> None:
    """Nearest by blended distance among what matches, by hand."""
    snapshot = demo_retriever.gallery.snapshot()
    names = [snapshot.label_names[label] for label in snapshot.labels]
    options = RetrieveOptions(max_samples=512, filter={"label": {"$in": ["3", "8"]}})
    for row in range(4):
        found = demo_retriever.retrieve(tensor(row), options)
        pixels = on_grid(tensor(row), demo_retriever.sigma)
        samples = demo_retriever.smoothed.first(pixels, found.certificate.samples)
        mean = snapshot.lift(samples).mean(axis=0)
        distances = np.linalg.norm(snapshot.vectors.astype(float) - mean, axis=1)
        some = [place for place, name in enumerate(names) if name in ("3", "8")]
        best = min(some, key=lambda place: float(distances[place]))
        assert found.neighbor.id == snapshot.items[best].id
        assert found.neighbor.distance == pytest.approx(distances[best], abs=2e-6)
