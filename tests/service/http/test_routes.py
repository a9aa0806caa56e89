"""The other routes: gallery, model, health, metrics, documentation, and the id of every request."""

import asyncio
import json
import re
import sqlite3
import uuid
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from models import CHUNK, PRETRAINED
from models.datasets import DATASETS
from models.passes.calibration import BATCHES
from models.passes.variants import BY_NAME
from service.http.app import create_app
from service.images import png
from service.metrics import Metrics
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import SAMPLES, Server, opened, run_cli, wait_for
from tests.service.queries import Json, answer, digit, folder_of, picture, post, saved, whole

GALLERY = DATASETS["digits"]("gallery")


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def test_the_gallery_tells_its_size_version_and_labels(client: httpx.Client) -> None:
    body = client.get("/gallery").json()
    labels, counts = np.unique(GALLERY.labels, return_counts=True)
    assert body.keys() == {"version", "size", "damaged", "labels"}
    assert body["damaged"] == 0
    assert body["size"] == len(GALLERY)
    assert body["version"] >= 1
    assert body["labels"] == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert answer(client, digit(0))["gallery"] == whole(body["version"], body["size"])


def test_an_item_and_its_image_come_back_as_they_were_added(client: httpx.Client) -> None:
    for row in (0, 299, 599):
        path = f"/gallery/items/{GALLERY.ids[row]}"
        assert client.get(path).json() == {
            "id": GALLERY.ids[row],
            "label": GALLERY.labels[row],
            "metadata": {},
        }
        image = client.get(f"/gallery/images/{GALLERY.ids[row]}")
        assert image.content == png(GALLERY.pixels[row])
        assert image.headers["content-type"] == "image/png"
        assert image.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["a.jpg", "deep/er/b.jpg", "white space & ümläut?.jpg", "100%.jpg", "image"])
def test_an_id_may_hold_slashes_and_anything_that_a_file_name_may(
    empty_server: Server, tmp_path: Path, name: str
) -> None:
    file = name if name.endswith(".jpg") else f"{name}.jpg"
    content = saved(picture(0), "JPEG")
    folder = folder_of(tmp_path, {f"a label/{file}": content})
    assert run_cli(empty_server.data, "gallery", "add", folder).returncode == 0
    for safe in ("/", ""):
        item_id = quote(f"a label/{file}", safe=safe)
        assert empty_server.client.get(f"/gallery/items/{item_id}").json()["label"] == "a label"
        image = empty_server.client.get(f"/gallery/images/{item_id}")
        assert (image.content, image.headers["content-type"]) == (content, "image/jpeg")


def test_a_csv_brings_metadata_to_item_and_answer(empty_server: Server, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(digit(0))
    (tmp_path / "items.csv").write_text('path,label,id,metadata,shelf\ndigit.png,3,one,"{""price"": 5}",A\n')
    assert run_cli(empty_server.data, "gallery", "add", str(tmp_path / "items.csv")).returncode == 0
    expected = {"id": "one", "label": "3", "metadata": {"price": 5, "shelf": "A"}}
    assert empty_server.client.get("/gallery/items/one").json() == expected
    neighbor = answer(empty_server.client, digit(1))["neighbor"]
    assert {name: neighbor[name] for name in expected} == expected


def test_an_item_and_the_image_of_another_do_not_share_a_path(empty_server: Server, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(digit(0))
    (tmp_path / "items.csv").write_text("path,label,id\ndigit.png,3,shoes\ndigit.png,4,shoes/image\n")
    assert run_cli(empty_server.data, "gallery", "add", str(tmp_path / "items.csv")).returncode == 0
    for item_id, label in (("shoes", "3"), ("shoes/image", "4")):
        assert empty_server.client.get(f"/gallery/items/{item_id}").json()["label"] == label
        assert empty_server.client.get(f"/gallery/images/{item_id}").content == digit(0)


@pytest.mark.parametrize("kind", ["items", "images"])
def test_an_item_that_is_not_there_is_a_404_that_names_it(client: httpx.Client, kind: str) -> None:
    response = client.get(f"/gallery/{kind}/no-such-item")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:retrievalguard:problem:item-not-found"
    assert "no-such-item" in response.json()["detail"]


def test_the_model_is_described_with_its_defaults(client: httpx.Client, demo_retriever: Retriever) -> None:
    described = client.get("/model").json()
    forward_pass = described.pop("forward_pass")
    del described["warnings"]  # of whatever was asked before
    assert described == {
        "trained_on": {"images": "handwritten digits", "colour": "grey", "size": [8, 8]},
        "name": "digits-cnn",
        "digest": demo_retriever.smoothed.digest,
        "input_shape": [1, 8, 8],
        "dimension": demo_retriever.model.dimension,
        "sigma": 0.25,
        "radius_unit": "l2 over [0,1] pixels of the 1x8x8 model input",
        "recall": json.loads((PRETRAINED / "digits-cnn" / "recall.json").read_text()),
        "preprocessing": None,
        "gallery_vectors": {"samples": 256, "shipped": 0, "shipped_samples": 0},
        "attack_seconds": 5.0,
        "defaults": {
            "alpha": 0.001, "samples": SAMPLES, "min_gain": 0.05,
            "guarantee": "label", "rule": "embedding", "method": "cdf",
        },
    }  # fmt: skip
    body = answer(client, digit(0))
    assert body["model"] == {"name": "digits-cnn", "digest": described["digest"]}
    assert body["certificate"]["alpha"] == 0.001
    assert body["certificate"]["samples"] == SAMPLES
    assert forward_pass.keys() == {"variant", "batch", "reason", "measured"}


def described_by(app: FastAPI) -> Json:
    """What its route /model answers, without a server."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1"
        ) as client:
            return await client.get("/model")

    found: Json = asyncio.run(ask()).json()
    return found


def test_the_model_tells_how_the_network_is_run_and_what_else_was_measured(
    client: httpx.Client, demo_server: Server
) -> None:
    described = client.get("/model").json()
    forward_pass = described["forward_pass"]
    measured = {one["variant"]: one for one in forward_pass["measured"]}
    assert list(measured) == list(BY_NAME)
    chosen = measured[forward_pass["variant"]]
    assert chosen["samples_per_second"] > 0
    assert forward_pass["batch"] in [CHUNK * batch for batch in BATCHES]
    assert f"batches of {forward_pass['batch']}" in forward_pass["reason"]
    ratio = chosen["samples_per_second"] / measured["eager"]["samples_per_second"]
    assert f"{ratio:.2f}x eager" in forward_pass["reason"]
    for one in measured.values():
        if one["unavailable"] is None:
            assert one["samples_per_second"] > 0
            assert 0 <= one["bias"] <= one["mean_distance"] <= one["largest_distance"]
            assert 0.5 < one["radius_kept"] < 2
        else:
            assert one["samples_per_second"] is None
    assert measured["eager"]["largest_distance"] == 0
    # What is told is what was written down at the first start, and the digest is of the variant that runs.
    kept = json.loads((demo_server.data / "calibration.json").read_text())
    assert {**forward_pass, "batch": forward_pass["batch"] // CHUNK, "digest": described["digest"]} == {
        name: value for name, value in kept.items() if name not in ("machine", "ranges", "probe")
    }


def test_a_variant_that_is_asked_for_is_the_one_that_runs(
    tmp_path: Path, demo_settings: Settings, demo_retriever: Retriever
) -> None:
    with opened(demo_settings, data_dir=tmp_path, variant="folded") as retriever:
        described = described_by(create_app(retriever))
    assert described["forward_pass"]["variant"] == "folded"
    assert [one["variant"] for one in described["forward_pass"]["measured"]] == ["folded"]
    assert "RETRIEVALGUARD_VARIANT" in described["forward_pass"]["reason"]
    assert described["digest"] == BY_NAME["folded"].digest(demo_retriever.model)


def test_health_is_ok_and_readiness_says_what_was_checked(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "ok", "checks": {}}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "checks": {"model": "digits-cnn", "gallery": "600 items"}}


# --- metrics


def test_every_metric_is_there_and_counts_what_happens(demo_server: Server) -> None:
    names = {metric.name for metric in Metrics().registry.collect()}
    asked = {"status": "certified", "method": "mean", "guarantee": "item"}
    watched: dict[str, dict[str, str]] = {
        "retrievalguard_requests_total": {"route": "/retrieve", "status": "200"},
        "retrievalguard_request_seconds_count": {"route": "/retrieve"},
        "retrievalguard_certificates_total": asked,
        "retrievalguard_certified_radius_count": {},
        "retrievalguard_samples_drawn_total": {},
        "retrievalguard_cache_lookups_total": {"result": "miss"},
    }
    before = {name: demo_server.metric(name, **labels) for name, labels in watched.items()}
    pixels = np.random.default_rng(77).random((1, 8, 8)).tolist()
    query = {"pixels": pixels, "method": "mean", "guarantee": "item", "alpha": 0.9, "max_samples": 300}
    body = demo_server.client.post("/retrieve", json=query).json()
    after = {name: demo_server.metric(name, **labels) for name, labels in watched.items()}
    expected = dict.fromkeys(watched, 1.0) | {"retrievalguard_samples_drawn_total": 384.0}
    if body["certificate"]["status"] == "abstained":
        expected["retrievalguard_certificates_total"] = 0.0
    assert {name: after[name] - before[name] for name in watched} == expected
    assert demo_server.metric("retrievalguard_gallery_items") == 600
    assert demo_server.metric("retrievalguard_gallery_version") == body["gallery"]["version"]

    text = demo_server.client.get("/metrics").text
    assert names == {name for name in names if re.search(rf"^# TYPE {name}(_total|_info)? ", text, re.M)}


def test_metrics_are_in_the_format_of_prometheus(client: httpx.Client) -> None:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    line = re.compile(r'(# (HELP|TYPE) .+|\w+(\{(\w+="[^"]*",?)*\})? [-+.\dEeInfNa]+)')
    assert all(line.fullmatch(text) for text in response.text.splitlines())


def test_a_route_that_a_client_makes_up_makes_no_metric(demo_server: Server) -> None:
    for path in ("/made-up", "/gallery/items/made-up", "/gallery/images/made-up"):
        assert demo_server.client.get(path).status_code == 404
    assert "made-up" not in demo_server.client.get("/metrics").text


# --- documentation


class Assets(HTMLParser):
    """What a page makes a browser load, and the text of its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"script": "src", "link": "href", "img": "src", "iframe": "src", "redoc": "spec-url"}
        self.links += [value for name, value in attrs if value and names.get(tag) == name]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_needs_no_other_host(demo_server: Server, page: str) -> None:
    response = demo_server.client.get(page)
    assert response.status_code == 200
    assets = Assets()
    assets.feed(response.text)
    assert len(assets.links) >= 2
    assert not re.search(r"https?://", assets.text)
    for link in assets.links:
        url = urljoin(demo_server.url + page, link)
        assert urlsplit(url).netloc == urlsplit(demo_server.url).netloc
        asset = demo_server.client.get(url)
        assert asset.status_code == 200
        assert asset.content


# --- the id of a request


@pytest.mark.parametrize("path", ["/livez", "/retrieve", "/no-such-route", "/docs", "/gallery/images/x"])
def test_every_answer_carries_an_id_of_its_own(client: httpx.Client, path: str) -> None:
    first, second = (client.get(path).headers["x-request-id"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second


def test_the_id_that_a_client_sends_comes_back(client: httpx.Client) -> None:
    for given in (uuid.uuid4().hex, "a1", "x" * 64):
        assert client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a\tb", "<script>", "ä"])
def test_an_id_that_could_do_harm_in_a_log_is_replaced(client: httpx.Client, given: str) -> None:
    headers = {b"x-request-id": given.encode("latin-1")}
    assert re.fullmatch(r"[0-9a-f]{32}", client.get("/livez", headers=headers).headers["x-request-id"])


def test_an_answer_to_a_query_carries_the_id_too(client: httpx.Client) -> None:
    assert post(client, digit(0)).headers["x-request-id"]
    assert post(client, b"no image").headers["x-request-id"]


# --- a gallery that breaks under a running server


def test_a_broken_gallery_is_not_ready_and_its_answers_tell_no_path(empty_server: Server) -> None:
    client = empty_server.client
    database = sqlite3.connect(empty_server.data / "gallery.sqlite3", isolation_level=None)
    database.execute("ALTER TABLE gallery RENAME TO lost")
    try:
        failed, alive = post(client, digit(0)), client.get("/livez")
        # A check that takes a moment is told of by the next one.
        wait_for(lambda: client.get("/readyz").status_code != 200)
        unready = client.get("/readyz")
    finally:
        database.execute("ALTER TABLE lost RENAME TO gallery")
        database.close()
    assert failed.status_code == 503
    assert failed.headers["retry-after"]
    assert failed.json()["type"] == "urn:retrievalguard:problem:gallery-failure"
    assert "sqlite" not in failed.text.lower() + unready.text.lower()
    assert alive.status_code == 200
    assert unready.status_code == 503
    assert unready.headers["content-type"] == "application/problem+json"
    log = empty_server.log.read_text()
    assert "no such table" in log
    assert "Traceback" not in log
    assert failed.headers["x-request-id"] in log
    wait_for(lambda: client.get("/readyz").status_code == 200)
