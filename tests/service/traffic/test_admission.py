"""More queries, or work, than may be: the next hears so at once, and when to come back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.processes import Server, copy_gallery, serving, wait_for
from tests.service.queries import QUERIES, answer, claims, digit, noisy_digit, post, unanswered

MOST = 100_000  # samples: with several queries, seconds on any machine
LONG: dict[str, Any] = {"max_samples": MOST, "min_gain": 0}
OTHER_ROUTES = ("/livez", "/metrics", "/model", "/gallery", "/readyz")


def overloaded(response: httpx.Response, said: str) -> None:
    """A refusal that came at once and says when to come back."""
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:retrievalguard:problem:overloaded"
    assert said in response.json()["detail"]
    assert response.headers["retry-after"].isdecimal()
    assert 1 <= int(response.headers["retry-after"]) <= 3600
    assert response.elapsed.total_seconds() < 1


def others_answer(server: Server) -> None:
    """Every other route does, and at once."""
    for path in OTHER_ROUTES:
        response = server.client.get(path)
        assert response.status_code == 200
        assert response.elapsed.total_seconds() < 1, path


@contextmanager
def under_way(server: Server, queries: int) -> Iterator[None]:
    """So many long queries, each of which has drawn its first samples; at the end their clients leave."""
    before = server.metric("retrievalguard_samples_drawn_total")
    abandoned = server.metric("retrievalguard_queries_abandoned_total")
    asked = [unanswered(server.url, noisy_digit(row, seed=9), **LONG) for row in range(queries)]
    try:
        wait_for(lambda: server.metric("retrievalguard_samples_drawn_total") >= before + 256 * queries)
        yield
        assert server.metric("retrievalguard_queries_abandoned_total") == abandoned  # all still at work
    finally:
        for connection in asked:
            connection.close()
    wait_for(lambda: server.metric("retrievalguard_queries_abandoned_total") == abandoned + queries)


# The second is more than the threads of a server's pool: it is not that pool that bounds the queries.
@pytest.fixture(scope="module", params=[2, 45])
def narrow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> Iterator[tuple[Server, int]]:
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("narrow"))
    # What is known is told without being one of them.
    with serving(
        data, MAX_QUERIES=request.param, MAX_BACKLOG_SECONDS=86_400, KNOWN_ANSWERS_BYTES=0
    ) as server:
        yield server, request.param


def test_as_many_queries_as_may_be_are_under_way_and_the_next_is_refused_at_once(
    narrow: tuple[Server, int],
) -> None:
    server, most = narrow
    before = claims(answer(server.client, digit(0)))
    with under_way(server, most):
        for row in range(5):
            overloaded(post(server.client, digit(row)), f"{most} queries")
        others_answer(server)
    assert claims(answer(server.client, digit(0))) == before
    # With one less there is room for one.
    with under_way(server, most - 1):
        assert claims(answer(server.client, digit(0))) == before


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Iterator[Server]:
    """A server that admits as many queries as it has cores, and next to nothing more."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("small"))
    with serving(data, MAX_BACKLOG_SECONDS=0.1, SAMPLES_LIMIT=10 * MOST, THREADS=1) as server:
        yield server


def test_long_queries_fill_their_lane_and_all_else_is_answered(small: Server) -> None:
    endless: dict[str, Any] = {"max_samples": 10 * MOST, "min_gain": 0}
    kept = digit(20)
    before = claims(answer(small.client, kept, top_k=2))
    asked = unanswered(small.url, noisy_digit(21, seed=9), **endless)  # an empty lane takes it
    wait_for(lambda: small.metric("retrievalguard_queued_samples") > 0)
    overloaded(post(small.client, noisy_digit(22, seed=9), **endless), "max_samples")
    assert small.metric("retrievalguard_backlog_seconds", lane="long") > 1
    again = answer(small.client, kept, top_k=2)
    assert again["cache"] == "hit"
    assert claims(again) == before
    assert answer(small.client, kept, top_k=3)["cache"] == "hit"  # the answer is new, its samples are there
    assert answer(small.client, digit(22))["cache"] == "miss"
    others_answer(small)
    assert small.metric("retrievalguard_queries_abandoned_total") == 0
    asked.close()
    wait_for(lambda: small.metric("retrievalguard_queries_abandoned_total") == 1)
    wait_for(lambda: small.metric("retrievalguard_backlog_seconds", lane="long") == 0)


def test_queries_of_a_batch_wait_for_room_and_get_the_answers_they_would_get_alone(small: Server) -> None:
    pixels = [(QUERIES.pixels[row] / 255).tolist() for row in range(30, 42)]
    batch = small.client.post("/retrieve/batch", json=[{"pixels": one} for one in pixels])
    assert batch.status_code == 200
    results = batch.json()["results"]
    assert [one["problem"] for one in results] == [None] * len(pixels)
    for one, asked in zip(results, pixels, strict=True):
        alone = small.client.post("/retrieve", json={"pixels": asked})
        assert claims(alone.json()) == claims(one["answer"])
