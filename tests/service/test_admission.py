"""More queries than can be answered: the others hear so at once, and when to come back."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.service.processes import copy_gallery, serving
from tests.service.queries import Json, answer, claims, digit, post

LONG = 100_000  # samples: seconds on any machine
OVER = 5


@dataclass(frozen=True)
class Rush:
    """What came of one long query, at work alone, and of more short ones than may wait meanwhile."""

    waiting: int
    long: httpx.Response
    short: list[httpx.Response]
    refused: list[httpx.Response]
    seconds: dict[str, float]  # how long the other routes took
    in_time: bool  # the long query was still at work when all of that had been measured
    before: Json
    after: Json


# The second is more than the threads of a server's pool: a line is no line if it does not fit into it.
@pytest.fixture(scope="module", params=[2, 45])
def rush(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> Iterator[Rush]:
    waiting = request.param
    together = threading.Barrier(waiting + OVER)
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("narrow"))
    with serving(data, CONCURRENCY=1, MAX_WAITING=waiting) as server, ThreadPoolExecutor(100) as pool:

        def one(row: int) -> httpx.Response:
            together.wait()
            return post(server.client, digit(row))

        before = claims(answer(server.client, digit(0)))
        long = pool.submit(post, server.client, digit(99), max_samples=LONG)
        time.sleep(0.3)
        crowd = [pool.submit(one, row) for row in range(waiting + OVER)]
        time.sleep(0.3)
        seconds = {}
        for path in ("/livez", "/metrics", "/model", "/gallery", "/readyz"):
            response = server.client.get(path)
            assert response.status_code == 200
            seconds[path] = response.elapsed.total_seconds()
        in_time = not long.done()
        responses = [future.result() for future in crowd]
        yield Rush(
            waiting,
            long.result(),
            [response for response in responses if response.status_code == 200],
            [response for response in responses if response.status_code != 200],
            seconds,
            in_time,
            before,
            claims(answer(server.client, digit(0))),
        )


def test_exactly_as_many_queries_wait_as_may_and_the_others_are_refused(rush: Rush) -> None:
    assert rush.long.status_code == 200
    assert len(rush.short) == rush.waiting
    assert len(rush.refused) == OVER
    assert rush.before == rush.after


def test_a_refusal_is_a_503_that_comes_at_once_and_says_when_to_come_back(rush: Rush) -> None:
    assert rush.refused
    for response in rush.refused:
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "urn:retrievalguard:problem:overloaded"
        assert response.headers["retry-after"].isdecimal()
        assert 1 <= int(response.headers["retry-after"]) <= 3600
        assert response.elapsed.total_seconds() < 1


def test_health_metrics_and_gallery_answer_while_queries_wait(rush: Rush) -> None:
    assert rush.in_time
    assert max(rush.seconds.values()) < 1, rush.seconds
