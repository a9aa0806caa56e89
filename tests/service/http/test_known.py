"""Requests that came before: what is told again is what would be worked out now, byte for byte but times."""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from index import GalleryStore
from models import Stop
from service.errors import Overloaded
from service.http.app import create_app
from service.http.known import LARGEST
from service.keys import Keys
from service.settings import Settings
from service.traffic.backlog import Work
from tests.service.processes import copy_gallery, opened
from tests.service.queries import digit, events, picture, saved

TIMES = re.compile(r'"timing_ms":\{"decode":([\d.]+),[^}]*\}')
PNG = {"content-type": "image/png"}
Asked = dict[str, Any]


def asked(content: bytes = digit(0), media: str = "image/png", **options: Any) -> Asked:
    """A request of `TestClient`."""
    return {"content": content, "headers": {"content-type": media}, "params": options}


def document(**members: Any) -> Asked:
    return asked(json.dumps(members).encode(), "application/json")


RED = saved(picture(2).convert("RGB"), "PNG")
REQUESTS: dict[str, Asked] = {
    "an image": asked(),
    "ranks": asked(top_k=3),
    "a guarantee": asked(guarantee="item"),
    "within": asked(guarantee="within", within_k=3),
    "votes": asked(rule="vote"),
    "a method": asked(method="mean"),
    "a risk": asked(alpha=0.01),
    "a target": asked(target_radius=0.1),
    "few samples": asked(max_samples=128),
    "no gain": asked(min_gain=0),
    "explained": asked(explain="true", top_k=2),
    "by the name of all": asked(gallery="default"),
    "another image": asked(RED),
    "JSON": document(image=base64.b64encode(digit(1)).decode(), top_k=2),
    "pixels": document(pixels=[[[0.25] * 8] * 8]),
}
# What these stand for may change without the gallery, or time decides it, or it is another form.
NEVER_KNOWN: dict[str, Asked] = {
    "a filter": asked(filter='{"label":"3"}'),
    "a deadline": asked(deadline_ms=60_000),
    "a stream": asked() | {"headers": PNG | {"accept": "text/event-stream"}},
    "a large body": asked(digit(0) + bytes(LARGEST)),
}


@pytest.fixture(scope="module")
def settings(
    demo_settings: Settings, tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> Settings:
    """On a folder whose gallery is changed."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("known"))
    return demo_settings.model_copy(update={"data_dir": data, "gallery_writes": "on", "host": "0.0.0.0"})


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    """Of the application that knows what was asked."""
    with opened(settings) as retriever:
        yield TestClient(create_app(retriever), client=("127.0.0.1", 1))


@pytest.fixture(scope="module")
def anew(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Of one with the same gallery, which knows nothing and has kept nothing in its own, tiny cache."""
    changed = settings.model_copy(update={"known_answers_bytes": 0, "cache_max_bytes": 1})
    data = tmp_path_factory.mktemp("anew")
    (data / "gallery.sqlite3").symlink_to(settings.data_dir / "gallery.sqlite3")
    (data / "calibration.json").write_bytes((settings.data_dir / "calibration.json").read_bytes())
    with opened(changed.model_copy(update={"data_dir": data})) as retriever:
        yield TestClient(create_app(retriever), client=("127.0.0.1", 1))


def ask(client: TestClient, request: Asked) -> str:
    response = client.post("/retrieve", **request)
    assert response.status_code == 200, response.text
    text: str = response.text
    return text


def timeless(text: str) -> str:
    """An answer without its times, and without where its samples came from."""
    told, times = TIMES.subn('"timing_ms":{}', text)
    assert times == 1
    return re.sub(r'"cache":"\w+"', '"cache":""', told)


def known(text: str) -> bool:
    """Whether nothing was decoded for an answer, which nothing else is without."""
    found = TIMES.search(text)
    assert found is not None
    return float(found[1]) == 0 and json.loads(text)["cache"] == "hit"


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_told_again_is_what_would_be_worked_out(
    client: TestClient, anew: TestClient, name: str
) -> None:
    request = REQUESTS[name]
    first, again = ask(client, request), ask(client, request)
    assert not known(first)
    assert known(again)
    assert timeless(again) == timeless(first) == timeless(ask(anew, request))
    response = client.post("/retrieve", **request)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", NEVER_KNOWN)
def test_what_may_change_by_itself_is_never_known(client: TestClient, name: str) -> None:
    for _ in range(3):
        response = client.post("/retrieve", **NEVER_KNOWN[name])
        if name == "a stream":
            assert response.headers["content-type"].startswith("text/event-stream")
            assert events(response)[-1][0] == "answer"
        elif name == "a large body":
            assert response.status_code in (200, 422)
        else:
            assert not known(response.text)


def test_a_stream_and_json_of_one_image_are_two_requests(client: TestClient) -> None:
    image = digit(5)
    for accept, begins in (("text/event-stream", "event: "), ("application/json", "{")) * 3:
        response = client.post("/retrieve", content=image, headers=PNG | {"accept": accept})
        assert response.text.startswith(begins)


def test_the_same_bytes_under_another_type_are_another_request(client: TestClient) -> None:
    body = json.dumps({"image": base64.b64encode(digit(6)).decode()}).encode()
    for _ in range(3):
        assert client.post("/retrieve", **asked(body, "application/json")).status_code == 200
        assert client.post("/retrieve", **asked(body)).status_code == 415
        compressed = asked(body, "application/json")
        compressed["headers"]["content-encoding"] = "gzip"
        assert client.post("/retrieve", **compressed).status_code == 415


def test_options_that_are_spelt_alike_when_joined_are_not_one_request(client: TestClient) -> None:
    for _ in range(3):
        assert len(json.loads(ask(client, asked(top_k=1)))["neighbors"]) == 0
        assert len(json.loads(ask(client, asked(top_k=12)))["neighbors"]) == 11
        assert client.post("/retrieve?top_k=1&top_k=2", content=digit(0), headers=PNG).status_code == 422


def test_a_change_of_the_gallery_by_whoever_is_seen_at_once(
    client: TestClient, anew: TestClient, settings: Settings
) -> None:
    image = digit(7)
    for _ in range(2):
        before = ask(client, asked(image))
    assert known(before)

    added = client.put("/gallery/items/itself?label=new", content=image, headers=PNG)
    assert added.status_code in (200, 201), added.text
    after = ask(client, asked(image))
    assert not known(after)
    assert json.loads(after)["neighbor"]["id"] == "itself"
    assert timeless(after) == timeless(ask(anew, asked(image)))
    assert known(ask(client, asked(image)))

    store = GalleryStore(settings.data_dir / "gallery.sqlite3")  # as another process does
    assert store.delete(["itself"])
    store.close()
    gone = ask(client, asked(image))
    assert json.loads(gone)["neighbor"] == json.loads(before)["neighbor"]
    assert json.loads(gone)["gallery"]["version"] == json.loads(before)["gallery"]["version"] + 2
    assert timeless(gone) == timeless(ask(anew, asked(image)))


def test_a_named_gallery_that_is_given_another_filter_answers_by_it(client: TestClient) -> None:
    image = digit(3)
    for label in ("1", "2", "1"):
        assert client.put("/galleries/some", json={"filter": {"label": label}}).is_success
        for _ in range(3):
            assert json.loads(ask(client, asked(image, gallery="some")))["neighbor"]["label"] == label
    client.delete("/galleries/some")
    assert client.post("/retrieve", **asked(image, gallery="some")).status_code == 404


def test_while_another_process_has_the_file_to_itself_nothing_is_told_from_memory(
    client: TestClient, settings: Settings
) -> None:
    request = asked(digit(8))
    for _ in range(2):
        ask(client, request)
    retriever = client.app.state.retriever  # type: ignore[attr-defined]
    assert retriever.gallery.snapshot_at_once() is retriever.snapshot()
    other = sqlite3.connect(settings.data_dir / "gallery.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # a change that has not happened yet is none
    assert known(ask(client, request))
    other.execute("UPDATE gallery SET version = version + 1")
    assert known(ask(client, request))
    other.execute("COMMIT")
    other.close()
    assert retriever.gallery.snapshot_at_once() is None
    assert not known(ask(client, request))


def metrics(client: TestClient, headers: dict[str, str]) -> dict[str, float]:
    lines = client.get("/metrics", headers=headers).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_it_counts_as_every_query_does_and_asks_for_a_key_as_every_query_does(
    settings: Settings, demo_gallery: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    image = saved(picture(9).convert("RGB").resize((96, 96)), "PNG")
    keys = Keys(data / "keys.json")
    admin, reader, birds = (
        {"x-api-key": made[1]}
        for made in (
            keys.create("admin", ["admin"]),
            keys.create("reader", ["gallery:read"]),
            keys.create("birds", ["retrieve"], galleries=["birds"]),
        )
    )
    few = {"x-api-key": keys.create("few", ["retrieve"], requests=2)[1]}
    with opened(settings.model_copy(update={"data_dir": data})) as retriever:
        client = TestClient(create_app(retriever))

        def post(headers: dict[str, str]) -> httpx.Response:
            return client.post("/retrieve", content=image, headers=PNG | headers)

        assert [post(admin).status_code for _ in range(2)] == [200, 200]
        before = metrics(client, admin)
        caplog.clear()  # whoever set the level before, it is about this one
        with caplog.at_level("INFO", "retrievalguard.access"):
            response = post(admin)
        assert known(response.text)
        assert response.headers["x-request-id"]
        (line,) = (record for record in caplog.records if record.name == "retrievalguard.access")
        body = response.json()
        told = {name: vars(line)[name] for name in ("route", "status", "answers", "cache_hits", "samples")}
        assert told == {
            "route": "/retrieve", "status": 200, "answers": 1, "cache_hits": 1,
            "samples": body["certificate"]["samples"],
        }  # fmt: skip
        assert vars(line)["gallery_version"] == body["gallery"]["version"]
        assert vars(line)["certified"] == (body["certificate"]["status"] == "certified")
        after = metrics(client, admin)
        for name in (
            'retrievalguard_requests_total{route="/retrieve",status="200"}',
            'retrievalguard_request_seconds_count{route="/retrieve"}',
            'retrievalguard_cache_lookups_total{result="hit"}',
            'retrievalguard_images_outside_domain_total{purpose="query",reason="shrunk"}',
        ):
            assert after[name] == before[name] + 1, name
        assert retriever.losses["query"].statement is not None
        assert "3 of 3 images are shrunk" in retriever.losses["query"].statement
        assert post({}).status_code == 401
        assert [post(wrong).status_code for wrong in (reader, birds)] == [403, 403]
        assert [post(few).status_code for _ in range(3)] == [200, 200, 429]


def test_what_is_known_is_bounded(settings: Settings, demo_gallery: Path, tmp_path: Path) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    with opened(settings.model_copy(update={"data_dir": data, "known_answers_bytes": 12_000})) as retriever:
        client = TestClient(create_app(retriever))
        for row in range(4):
            ask(client, asked(digit(row)))
        assert [known(ask(client, asked(digit(row)))) for row in (3, 2)] == [True, True]
        assert not known(ask(client, asked(digit(0))))


def test_who_comes_back_too_early_is_refused_before_anything_is_decoded(
    settings: Settings, demo_gallery: Path, tmp_path: Path
) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    large = saved(picture(4).resize((96, 96)), "PNG")
    with opened(settings.model_copy(update={"data_dir": data})) as retriever:
        client = TestClient(create_app(retriever))
        decoded = 'retrievalguard_images_outside_domain_total{purpose="query",reason="shrunk"}'
        refused = 'retrievalguard_requests_total{route="/retrieve",status="503"}'
        with ExitStack() as held:
            for seconds in (100.0, 0.2):  # in each lane, until no more is admitted
                with suppress(Overloaded):
                    while True:
                        work = Work(seconds, seconds, b"another", watched=False)
                        held.enter_context(retriever.backlog.answering(work, Stop()))
            responses = [client.post("/retrieve", **asked(large)) for _ in range(4)]
            counted = metrics(client, {})
        assert [response.status_code for response in responses] == [503] * 4
        assert {response.json()["type"] for response in responses} == {
            "urn:retrievalguard:problem:overloaded"
        }
        assert all(int(response.headers["retry-after"]) >= 1 for response in responses)
        assert (counted[decoded], counted[refused]) == (1, 4)
        assert client.post("/retrieve", **asked(large)).status_code == 200
