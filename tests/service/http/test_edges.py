"""Around the routes: HEAD, the Host header, other origins, and a proxy's root path."""

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest import mock

import httpx
import pytest
from fastapi import FastAPI

from models.datasets import DATASETS
from service.http.app import create_app
from service.http.hosts import allowed_hosts
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server

ITEM = DATASETS["digits"]("gallery").ids[0]


def asked(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """What the application answers, without a server."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


@pytest.fixture
def app(demo_retriever: Retriever, request: pytest.FixtureRequest) -> Iterator[FastAPI]:
    """The application with other settings."""
    changed = demo_retriever.settings.model_copy(update=getattr(request, "param", {}))
    with mock.patch.object(demo_retriever, "settings", changed):
        yield create_app(demo_retriever)


# --- HEAD


PAGES = ["/gallery", "/model", "/livez", "/readyz", "/docs", "/redoc", "/openapi.json", "/"]


@pytest.mark.parametrize("path", [*PAGES, f"/gallery/items/{ITEM}", f"/gallery/images/{ITEM}", "/nothing"])
def test_head_is_get_without_its_body(demo_server: Server, app: FastAPI, path: str) -> None:
    for ask in (demo_server.client.request, lambda method, path: asked(app, method, path)):
        get, head = ask("GET", path), ask("HEAD", path)
        assert head.status_code == get.status_code
        assert head.content == b""
        for header in ("content-type", "location", "allow"):
            assert head.headers.get(header) == get.headers.get(header)


def test_head_of_metrics_has_no_body_and_is_counted_by_its_route(demo_server: Server) -> None:
    before = demo_server.metric("retrievalguard_requests_total", route="/gallery", status="200")
    assert demo_server.client.head("/gallery").status_code == 200
    assert demo_server.metric("retrievalguard_requests_total", route="/gallery", status="200") == before + 1
    assert demo_server.client.head("/metrics").content == b""


def test_head_is_not_there_where_get_is_not(demo_server: Server) -> None:
    assert demo_server.client.head("/retrieve").status_code == 405
    assert demo_server.client.head("/retrieve").headers["allow"] == "POST"
    assert demo_server.client.delete("/gallery").headers["allow"] == "GET, HEAD"


# --- Host

LOOPBACK = ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LocalHost", "[::1]", "[::1]:8000"]
FOREIGN = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8000",
    "",
    "evil.example:127.0.0.1",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_who_asks_this_machine_by_a_name_of_its_own_is_answered(app: FastAPI, host: str) -> None:
    assert asked(app, "GET", "/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_who_was_led_here_by_another_name_is_told_which_setting_allows_it(app: FastAPI, host: str) -> None:
    for method, path in (("GET", "/model"), ("POST", "/retrieve"), ("GET", "/docs"), ("GET", "/metrics")):
        response = asked(app, method, path, headers={"host": host})
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "urn:retrievalguard:problem:host-not-allowed"
        assert "RETRIEVALGUARD_ALLOWED_HOSTS" in response.json()["detail"]
        assert response.headers["x-request-id"]


def test_a_health_check_may_name_any_host(app: FastAPI) -> None:
    for path in ("/livez", "/readyz"):  # an orchestrator names the address of the container
        assert asked(app, "GET", path, headers={"host": "10.0.0.7:8000"}).status_code in (200, 503)
    assert asked(app, "GET", "/livez", headers={"host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize("app", [{"allowed_hosts": ("search.example", "*.search.example")}], indirect=True)
def test_hosts_of_the_settings_take_the_place_of_the_default(app: FastAPI) -> None:
    for host in ("search.example", "a.search.example:443", "A.B.Search.Example"):
        assert asked(app, "GET", "/model", headers={"host": host}).status_code == 200
    for host in ("localhost", "xsearch.example", "example"):
        assert asked(app, "GET", "/model", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    ("host", "given", "allowed"),
    [
        ("127.0.0.1", (), ("localhost", "127.0.0.1", "[::1]")),
        ("localhost", (), ("localhost", "127.0.0.1", "[::1]")),
        ("::1", (), ("localhost", "127.0.0.1", "[::1]")),
        ("0.0.0.0", (), ("*",)),
        ("::", (), ("*",)),
        ("myhost", (), ("*",)),
        ("0.0.0.0", ("a.example",), ("a.example",)),
    ],
)
def test_by_default_the_hosts_are_those_of_loopback_where_it_listens_there(
    host: str, given: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    assert allowed_hosts(Settings(host=host, allowed_hosts=given or None)) == allowed


def test_names_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVALGUARD_ALLOWED_HOSTS", "a.example, *.b.example,")
    monkeypatch.setenv("RETRIEVALGUARD_CORS_ORIGINS", "https://a.example")
    settings = Settings.from_environment()
    assert settings.allowed_hosts == ("a.example", "*.b.example")
    assert settings.cors_origins == ("https://a.example",)


# --- other origins

ORIGIN = "https://shop.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


def test_no_other_origin_is_allowed_by_default(app: FastAPI) -> None:
    assert (
        "access-control-allow-origin" not in asked(app, "GET", "/model", headers={"origin": ORIGIN}).headers
    )
    assert asked(app, "OPTIONS", "/retrieve", headers=PREFLIGHT).status_code == 405


@pytest.mark.parametrize("app", [{"cors_origins": (ORIGIN,)}], indirect=True)
def test_an_origin_of_the_settings_may_ask_and_read_also_what_went_wrong(app: FastAPI) -> None:
    preflight = asked(app, "OPTIONS", "/retrieve", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    for path in ("/model", "/nothing"):
        response = asked(app, "GET", path, headers={"origin": ORIGIN})
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in response.headers["access-control-expose-headers"].lower()
    other = asked(app, "GET", "/model", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


# --- behind a proxy

ROOT = "/api/guard"


@pytest.mark.parametrize("app", [{"root_path": ROOT}], indirect=True)
@pytest.mark.parametrize("sent", [ROOT, ""])
def test_behind_a_proxy_all_is_below_its_path_whether_it_sends_that_or_not(app: FastAPI, sent: str) -> None:
    for path in ("/model", f"/gallery/items/{ITEM}", "/livez", "/metrics", "/openapi.json"):
        assert asked(app, "GET", sent + path).status_code == 200
    assert asked(app, "GET", f"{sent}/livez", headers={"host": "10.0.0.7"}).status_code == 200
    assert asked(app, "GET", f"{sent}/v1/model").json() == asked(app, "GET", f"{sent}/model").json()
    assert "page/app.js" in asked(app, "GET", f"{sent}/").text
    assert asked(app, "GET", f"{sent}/page/app.js").status_code == 200
    page = asked(app, "GET", f"{sent}/docs").text
    assert f"{ROOT}/openapi.json" in page
    assert f'"{ROOT}/static-offline-docs/swagger-ui-bundle.js"' in page
    assert asked(app, "GET", f"{sent}/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert asked(app, "GET", f"{sent}/openapi.json").json()["servers"] == [{"url": ROOT}]


def test_every_path_is_also_one_of_the_version(demo_server: Server) -> None:
    ask = demo_server.client.get
    for path in ("/model", f"/gallery/items/{ITEM}", f"/gallery/images/{ITEM}"):
        assert ask(f"/v1{path}").content == ask(path).content
    for path in ("/v2/model", "/v1", "/v1/v1/model", "/v1model"):
        assert ask(path).status_code == 404
    counted = demo_server.metric("retrievalguard_requests_total", route="/model", status="200")
    ask("/v1/model")
    assert demo_server.metric("retrievalguard_requests_total", route="/model", status="200") == counted + 1


@pytest.mark.parametrize("app", [{"root_path": ROOT}], indirect=True)
def test_behind_a_proxy_the_page_is_below_its_path_as_its_files_are(app: FastAPI) -> None:
    assert asked(app, "GET", ROOT).headers["location"] == f"http://127.0.0.1{ROOT}/"


@pytest.mark.parametrize("path", ["guard", "/guard/", "/", "/a//b", "https://a.example", "/a b"])
def test_a_root_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=path)


# --- a filter that is being read for somebody else


@pytest.mark.parametrize("app", [{"max_filter_seconds": 0.1, "gallery_writes": "on"}], indirect=True)
def test_a_named_gallery_waits_no_longer_than_it_may(app: FastAPI, demo_retriever: Retriever) -> None:
    document = {"filter": {"id": {"$prefix": "digits"}}}
    demo_retriever.named.put("named", {"id": {"$prefix": "digit"}})
    with demo_retriever.gallery._views._making:
        put = asked(app, "PUT", "/galleries/waiting", json=document)
        get = asked(app, "GET", "/galleries/named")
    for response in (put, get):
        assert response.status_code == 503, response.text
        assert int(response.headers["retry-after"]) >= 1
    assert list(demo_retriever.named.all()) == ["default", "named"]  # what was refused is not stored
    assert asked(app, "GET", "/galleries/named").status_code == 200
    demo_retriever.named.delete("named")
