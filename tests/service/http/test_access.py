"""Keys at the door: who is let in, to what, and how often."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.http.access import needed
from service.keys import Key, Keys, Scope
from tests.service.processes import Server, copy_gallery, run_cli, serving, wait_for
from tests.service.queries import digit

URN = "urn:retrievalguard:problem:"
READER: tuple[Scope, ...] = ("retrieve", "gallery:read")
REQUESTS = 100_000


@pytest.fixture(scope="module")
def guarded(demo_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Keys]]:
    """A server, and the keys that it asks for."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("guarded"))
    keys = Keys(data / "keys.json")
    keys.create("nobody's", ["admin"])
    with serving(data) as server:
        yield server, keys


def asked(server: Server, token: str, method: str = "GET", path: str = "/model") -> httpx.Response:
    return server.client.request(method, path, headers={"authorization": f"Bearer {token}"})


def query(server: Server, token: str, row: int, **options: object) -> httpx.Response:
    headers = {"content-type": "image/png", "x-api-key": token}
    return server.client.post("/retrieve", content=digit(row), params=options, headers=headers)  # type: ignore[arg-type]


def refused(response: httpx.Response, status: int, problem: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["type"] == URN + problem


def test_what_tells_nothing_is_for_everybody_and_all_else_needs_a_key(guarded: tuple[Server, Keys]) -> None:
    server, _ = guarded
    for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200, path
    for path in (
        "/model",
        "/gallery",
        "/gallery/items/x",
        "/metrics",
        "/nothing",
    ):
        response = server.client.get(path)
        refused(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    refused(server.client.post("/retrieve", content=digit(0)), 401, "unauthorized")
    refused(server.client.post("/docs"), 401, "unauthorized")


def test_every_route_of_the_document_says_what_it_needs(guarded: tuple[Server, Keys]) -> None:
    server, _ = guarded
    paths = server.client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            scope = needed(method.upper(), path)
            assert scope != "admin", f"{path} is in no scope"
            assert ("401" in operation["responses"]) == ("security" in operation) == (scope is not None)


def test_a_key_with_the_scope_changes_the_gallery_whatever_else_is_off(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    path, ours = "/gallery/items/new", {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    cases: list[tuple[Scope, int]] = [("gallery:read", 403), ("gallery:write", 201)]
    for scope, status in cases:
        headers = ours | {"x-api-key": keys.create(scope, [scope])[1]}
        response = server.client.put(f"{path}?label=3", content=digit(0), headers=headers)
        assert response.status_code == status, response.text
    assert server.client.delete(path, headers=headers).json()["deleted"] == 1


def test_a_scope_opens_what_it_says_and_nothing_else(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    _, token = keys.create("reader", READER)
    assert query(server, token, 0).status_code == 200
    assert asked(server, token).status_code == 200
    assert asked(server, token, path="/gallery").status_code == 200
    for method, path, scope in (
        ("GET", "/metrics", "metrics"),
        ("DELETE", "/gallery/items/x", "gallery:write"),
    ):
        response = asked(server, token, method, path)
        refused(response, 403, "forbidden")
        assert response.json()["scope"] == scope
    _, admin = keys.create("admin", ["admin"])
    assert asked(server, admin, path="/metrics").status_code == 200


def test_a_revoked_key_opens_nothing_any_more(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    key, token = keys.create("guest", READER)
    assert asked(server, token).status_code == 200
    keys.revoke(key.id)
    refused(asked(server, token), 401, "unauthorized")


def test_requests_over_the_limit_come_back_in_the_next_minute(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    _, token = keys.create("eager", READER, requests=3)
    answers = [asked(server, token) for _ in range(8)]
    codes = [answer.status_code for answer in answers]
    assert 3 <= codes.count(200) <= 6, codes  # a minute may end between
    last = answers[codes.index(429)]
    refused(last, 429, "rate-limited")
    assert 1 <= int(last.headers["retry-after"]) <= 60
    first = answers[0].headers
    assert first["ratelimit-policy"] == '"requests";q=3;w=60'
    assert first["ratelimit"].startswith('"requests";r=2;t=')


def test_samples_over_the_limit_are_not_drawn_and_cached_ones_are_free(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    _, token = keys.create("greedy", READER, samples=300)
    for row in (250, 251):  # 256 each: the second one is over, unless a minute ends between
        answer = query(server, token, row, max_samples=256)
        if answer.status_code == 429:
            break
    else:
        answer = query(server, token, 252, max_samples=256)
    refused(answer, 429, "rate-limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    again = query(server, token, 250, max_samples=256)
    assert again.status_code == 200
    assert again.json()["cache"] == "hit"


def test_samples_that_were_drawn_for_who_left_are_counted(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    _, token = keys.create("impatient", READER, samples=100_000)
    _, admin = keys.create("watcher", ["admin"])

    def left() -> float:
        lines = asked(server, admin, path="/metrics").text.splitlines()
        return float(
            next(
                line for line in lines if line.startswith("retrievalguard_queries_abandoned_total ")
            ).split()[-1]
        )

    before = left()
    with pytest.raises(httpx.ReadTimeout):
        server.client.post(
            "/retrieve",
            content=digit(253),
            params={"max_samples": 100_000, "min_gain": 0},
            headers={"content-type": "image/png", "x-api-key": token},
            timeout=2,
        )
    wait_for(lambda: left() > before)
    refused(query(server, token, 254, max_samples=100_000), 429, "rate-limited")


def test_a_batch_counts_as_its_queries(guarded: tuple[Server, Keys]) -> None:
    server, keys = guarded
    _, token = keys.create("batches", READER, requests=3)
    image = base64.b64encode(digit(0)).decode()
    answer = server.client.post("/retrieve/batch", json=[{"image": image}] * 7, headers={"x-api-key": token})
    refused(answer, 429, "rate-limited")


def test_a_file_of_keys_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "serve", KEYS_FILE=tmp_path / "not-mounted.json")
    assert done.returncode == 1
    assert "RETRIEVALGUARD_KEYS_FILE" in done.stderr


def test_a_service_that_others_reach_does_not_start_without_a_key(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "serve", HOST="0.0.0.0")
    assert done.returncode == 1
    assert "keys create" in done.stderr


def test_the_command_makes_lists_and_revokes_keys(tmp_path: Path) -> None:
    made = run_cli(tmp_path, "keys", "create", "shop", "--scope", "retrieve", "--requests", "60")
    assert made.returncode == 0
    token = made.stdout.strip()
    key = Keys(tmp_path / "keys.json").find(token)
    assert isinstance(key, Key)
    assert token not in made.stderr
    listed = run_cli(tmp_path, "keys", "list").stdout
    assert listed.split("\t")[:4] == [key.id, "shop", "retrieve", "60 requests/min"]
    assert run_cli(tmp_path, "keys", "revoke", key.id).returncode == 0
    assert run_cli(tmp_path, "keys", "list").stdout == ""
    for wrong in (
        ["create", "shop", "--scope", "write"],
        ["revoke", "nothing"],
        ["create", "", "--scope", "admin"],
    ):
        done = run_cli(tmp_path, "keys", *wrong)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
