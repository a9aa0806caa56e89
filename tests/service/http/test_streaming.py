"""`Accept: text/event-stream`: the answer as it grows; and a client that leaves stops the work."""

from typing import Any

import httpx
import pytest

from certify import DOUBLING, QUARTER, rounds
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from tests.service.processes import Server, wait_for
from tests.service.queries import Event, Json, answer, claims, digit, events, noisy_digit, post, unanswered

MOST = 100_000
LONG = {"max_samples": MOST, "min_gain": 0}
STREAM = "text/event-stream"


@pytest.fixture(scope="module")
def client(demo_server: Server) -> httpx.Client:
    return demo_server.client


def ask(client: httpx.Client, image: bytes, accept: str = STREAM, **options: Any) -> httpx.Response:
    headers = {"content-type": "image/png", "accept": accept}
    return client.post("/retrieve", params=options, content=image, headers=headers)


def told(client: httpx.Client, image: bytes, **options: Any) -> list[Event]:
    response = ask(client, image, **options)
    assert response.status_code == 200, response.text
    return events(response)


def last_round(body: Json) -> Json:
    """What the last round of this answer must have been."""
    certificate, neighbor = body["certificate"], body["neighbor"]
    return {
        "samples": certificate["samples"],
        "radius": certificate["radius"],
        "neighbor": {"id": neighbor["id"], "label": neighbor["label"]},
    }


@pytest.mark.parametrize(
    "options",
    [
        {"max_samples": 4000, "min_gain": 0},
        {"max_samples": 4000, "guarantee": "item", "top_k": 3},
        {"max_samples": 2000, "min_gain": 0, "rule": "vote"},
        {"max_samples": 3000, "target_radius": 2.0},
        {"max_samples": 1500, "method": "bisector"},
        {"max_samples": 100},
    ],
    ids=str,
)
def test_rounds_grow_and_the_last_one_is_the_certificate_of_the_answer(
    client: httpx.Client, demo_retriever: Retriever, options: Json
) -> None:
    image = noisy_digit(5, seed=1)
    names, bodies = zip(*told(client, image, **options), strict=True)
    assert names == ("round",) * (len(names) - 1) + ("answer",)
    *steps, found = bodies
    looked = [step["samples"] for step in steps]
    assert steps[-1] == last_round(found)
    if options.get("method") == "bisector":
        assert looked == [1500]
    else:
        all_rounds = list(rounds(options["max_samples"], QUARTER if "target_radius" in options else DOUBLING))
        assert looked == all_rounds[: len(looked)]
        assert options.get("min_gain") != 0 or looked == all_rounds
    expected = demo_retriever.retrieve(image, RetrieveOptions(**options)).model_dump(mode="json")
    assert claims(found) == claims(expected)
    # Asked for plainly it is the same.
    assert claims(answer(client, image, **options)) == claims(expected)


def test_a_cached_answer_is_one_event(client: httpx.Client) -> None:
    image = noisy_digit(6, seed=2)
    plain = answer(client, image, top_k=2)
    ((name, found),) = told(client, image, top_k=2)
    assert (name, found["cache"]) == ("answer", "hit")
    assert claims(found) == claims(plain)


def test_a_streamed_answer_is_kept_for_those_who_ask_plainly(client: httpx.Client) -> None:
    image = noisy_digit(7, seed=3)
    *_, (name, first) = told(client, image)
    assert (name, first["cache"]) == ("answer", "miss")
    second = answer(client, image)
    assert second["cache"] == "hit"
    assert claims(first) == claims(second)


def test_a_stream_is_not_to_be_kept_or_held_back_on_its_way(client: httpx.Client) -> None:
    headers = ask(client, digit(0)).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-request-id"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
def test_who_does_not_ask_for_events_gets_json(client: httpx.Client, accept: str) -> None:
    response = ask(client, digit(0), accept)
    assert response.headers["content-type"] == "application/json"
    assert response.json()["certificate"]


@pytest.mark.parametrize(
    ("image", "options", "status", "slug"),
    [
        (b"no image", {}, 415, "not-an-image"),
        (digit(0)[:100], {}, 422, "image-damaged"),
        (digit(0), {"no_such_option": 1}, 422, "invalid-option"),
        (digit(0), {"max_samples": 10**9}, 422, "invalid-option"),
        (digit(0), {"rule": "vote", "method": "mean"}, 422, "invalid-option"),
    ],
)
def test_what_fails_before_the_first_round_has_its_own_status(
    client: httpx.Client, image: bytes, options: Json, status: int, slug: str
) -> None:
    streamed, plain = ask(client, image, **options), post(client, image, **options)
    assert streamed.status_code == plain.status_code == status
    assert streamed.headers["content-type"] == "application/problem+json"
    assert streamed.json() == plain.json()
    assert streamed.json()["type"] == f"urn:retrievalguard:problem:{slug}"


# --- a client that leaves


def left(server: Server) -> float:
    return server.metric("retrievalguard_queries_abandoned_total")


def drawn(server: Server) -> int:
    return int(server.metric("retrievalguard_samples_drawn_total"))


@pytest.mark.parametrize("accept", [STREAM, "application/json"])
def test_clients_that_leave_stop_the_work(demo_server: Server, accept: str) -> None:
    before, abandoned, count = drawn(demo_server), left(demo_server), 4
    images = [noisy_digit(row, seed=len(accept)) for row in range(count)]
    asked = [unanswered(demo_server.url, image, accept, **LONG) for image in images]
    wait_for(lambda: drawn(demo_server) >= before + 256 * count)
    wait_for(lambda: demo_server.metric("retrievalguard_queued_samples") > 0)
    assert left(demo_server) == abandoned
    for connection in asked:
        connection.close()
    wait_for(lambda: left(demo_server) == abandoned + count, 10)
    assert demo_server.metric("retrievalguard_queued_samples") == 0
    until_then = drawn(demo_server)
    assert until_then < before + count * MOST
    # Nothing is drawn any more but what is asked for.
    answer(demo_server.client, noisy_digit(9, seed=len(accept)), max_samples=1000, min_gain=0)
    assert drawn(demo_server) == until_then + 1024
    assert left(demo_server) == abandoned + count


@pytest.mark.parametrize("accept", [STREAM, "application/json"])
def test_what_was_drawn_for_a_client_that_left_is_kept(demo_server: Server, accept: str) -> None:
    image, before, abandoned = noisy_digit(11, seed=len(accept)), drawn(demo_server), left(demo_server)
    connection = unanswered(demo_server.url, image, accept, **LONG)
    wait_for(lambda: drawn(demo_server) >= before + 256)
    connection.close()
    wait_for(lambda: left(demo_server) == abandoned + 1, 10)
    there = drawn(demo_server) - before
    assert 256 <= there < MOST
    same = answer(demo_server.client, image, max_samples=there, min_gain=0)
    assert same["cache"] == "hit"
    assert drawn(demo_server) == before + there
    more = answer(demo_server.client, image, max_samples=there + 128, min_gain=0)
    assert more["cache"] == "resumed"
    assert drawn(demo_server) == before + there + 128


def test_a_client_that_leaves_after_some_rounds_stops_the_work(demo_server: Server) -> None:
    image, abandoned, seen = noisy_digit(12, seed=5), left(demo_server), 0
    headers = {"content-type": "image/png", "accept": STREAM}
    with demo_server.client.stream(
        "POST", "/retrieve", params=LONG, content=image, headers=headers
    ) as response:
        for line in response.iter_lines():
            seen += line == "event: round"
            if seen == 2:
                break
    wait_for(lambda: left(demo_server) == abandoned + 1, 10)
    assert demo_server.metric("retrievalguard_queued_samples") == 0
    assert answer(demo_server.client, image, max_samples=256, min_gain=0)["cache"] == "hit"
