"""Many queries in one request: each is answered, or refused, as it would be alone, in its place."""

import base64
from typing import Any

import httpx
import pytest

from tests.service.processes import Server, wait_for
from tests.service.queries import Json, answer, claims, digit, noisy_digit, post, tensor


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def encoded(row: int) -> Json:
    return {"image": base64.b64encode(digit(row)).decode()}


def results(client: httpx.Client, body: Any, **options: Any) -> list[Json]:
    response = client.post("/retrieve/batch", json=body, params=options)
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["results"]
    return found


def test_each_query_gets_the_answer_that_it_would_get_alone_in_its_place(client: httpx.Client) -> None:
    rows = [3, 1, 4, 1, 5]
    queries = [encoded(row) for row in rows] + [{"pixels": tensor(9).astype(float).tolist(), "top_k": 2}]
    found = results(client, {"queries": queries})
    assert [one["problem"] for one in found] == [None] * len(queries)
    for row, one in zip(rows, found, strict=False):
        assert claims(one["answer"]) == claims(answer(client, digit(row)))
    assert len(found[-1]["answer"]["neighbors"]) == 1
    again = results(client, queries)  # the list alone
    assert [claims(one["answer"]) for one in again] == [claims(one["answer"]) for one in found]


def test_options_in_the_url_are_those_of_all(client: httpx.Client) -> None:
    one, two = results(client, [encoded(0), encoded(1) | {"top_k": 3}], guarantee="item")
    assert claims(one["answer"]) == claims(answer(client, digit(0), guarantee="item"))
    assert claims(two["answer"]) == claims(answer(client, digit(1), guarantee="item", top_k=3))
    (twice,) = results(client, [encoded(0) | {"top_k": 2}], top_k=1)
    assert twice["problem"]["type"].endswith("invalid-option")


def test_what_is_wrong_with_one_is_told_in_its_place(client: httpx.Client) -> None:
    good = encoded(0)
    bad: list[tuple[Any, int, str]] = [
        ({"image": "!"}, 400, "malformed-body"),
        ([], 400, "malformed-body"),
        (None, 400, "malformed-body"),
        ({}, 400, "malformed-body"),
        (good | {"top_q": 1}, 422, "invalid-option"),
        (good | {"top_k": 10**6}, 422, "invalid-option"),
        ({"image": base64.b64encode(digit(0)[:40]).decode()}, 422, "image-damaged"),
        ({"pixels": [[[2.0]]]}, 422, "pixels-invalid"),
    ]
    found = results(client, [good, *(query for query, _, _ in bad), good])
    for one, (query, status, slug) in zip(found[1:-1], bad, strict=True):
        assert one["answer"] is None
        told = (one["problem"]["status"], one["problem"]["type"])
        assert told == (status, f"urn:retrievalguard:problem:{slug}"), query
    assert claims(found[0]["answer"]) == claims(found[-1]["answer"]) == claims(answer(client, digit(0)))


def test_what_is_no_batch_is_refused_as_a_whole(client: httpx.Client) -> None:
    for body, status in (
        ([], 400), ({"queries": []}, 400), ({"queries": 1}, 400), (encoded(0), 400), ("x", 400),
        ([encoded(0)] * 65, 413), ([{"pixels": [0] * 140_000}], 413),
    ):  # fmt: skip
        response = client.post("/retrieve/batch", json=body)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
    assert post(client, digit(0)).status_code == 200
    assert client.post("/retrieve/batch", content=digit(0)).status_code == 415


def test_a_client_that_leaves_stops_its_batch(demo_server: Server) -> None:
    def abandoned() -> float:
        return demo_server.metric("retrievalguard_queries_abandoned_total")

    before = abandoned()
    image = base64.b64encode(noisy_digit(0, seed=77)).decode()
    # Long enough not to be over by then.
    body = {"queries": [{"image": image, "max_samples": 100_000, "min_gain": 0}]}
    with httpx.Client(base_url=demo_server.url, timeout=1) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/retrieve/batch", json=body)
    wait_for(lambda: abandoned() > before)
