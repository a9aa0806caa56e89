"""More queries, or samples, than may be: the next hears so at once, and when to come back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import QueueFull
from models.sampling.queue import SampleQueue
from tests.service.processes import Server, copy_gallery, serving, wait_for
from tests.service.queries import answer, claims, digit, noisy_digit, post, unanswered

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
    wait_for(lambda: server.metric("retrievalguard_queries_abandoned_total") == abandoned + queries, 20)


# The second is more than the threads of a server's pool: it is not that pool that bounds the queries.
@pytest.fixture(scope="module", params=[2, 45])
def narrow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> Iterator[tuple[Server, int]]:
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("narrow"))
    with serving(data, MAX_QUERIES=request.param, MAX_QUEUED_SAMPLES=10**8) as server:
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
    """A server whose line holds few samples."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("small"))
    with serving(data, MAX_QUEUED_SAMPLES=1000, SAMPLES_LIMIT=10 * MOST) as server:
        yield server


def test_while_the_line_is_full_only_what_needs_no_samples_is_answered(small: Server) -> None:
    kept, longer = digit(20), noisy_digit(21, seed=9)
    before = claims(answer(small.client, kept, top_k=2))
    asked = unanswered(small.url, longer, max_samples=10 * MOST, min_gain=0)  # an empty line takes it
    wait_for(lambda: small.metric("retrievalguard_queued_samples") > 0)
    overloaded(post(small.client, digit(22)), "max_samples")
    overloaded(post(small.client, kept, max_samples=1000, min_gain=0), "max_samples")
    again = answer(small.client, kept, top_k=2)
    assert again["cache"] == "hit"
    assert claims(again) == before
    # The answer is new, its samples are there.
    assert answer(small.client, kept, top_k=3)["cache"] == "hit"
    others_answer(small)
    assert small.metric("retrievalguard_queries_abandoned_total") == 0
    asked.close()
    wait_for(lambda: small.metric("retrievalguard_queries_abandoned_total") == 1)
    assert answer(small.client, digit(22))["cache"] == "miss"


def test_a_line_keeps_room_for_what_it_promised_and_none_always_fits() -> None:
    line = SampleQueue(1000)
    line.promise(400)
    line.promise(600)
    for samples in (1, 1000):
        with pytest.raises(QueueFull) as full:
            line.promise(samples)
        assert full.value.backlog == 1000
    line.promise(0)
    line.release(600)
    line.promise(600)
    line.release(400)
    line.release(600)
    line.promise(10**9)
    line.promise(0)
    assert line.promised == 10**9
