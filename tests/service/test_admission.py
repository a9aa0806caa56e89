"""More queries than can be answered: the others hear so at once, and when to come back."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.processes import Server, copy_gallery, serving
from tests.service.queries import answer, claims, digit

LONG = 100_000  # samples: seconds on any machine


def ask(server: Server, row: int, **options: int) -> httpx.Response:
    headers = {"content-type": "image/png"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return client.post("/retrieve", content=digit(row), headers=headers, params=options)


@contextmanager
def busy(server: Server) -> Iterator["Future[httpx.Response]"]:
    """A query that takes seconds, at work."""
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(ask, server, int(time.time()) % 200, max_samples=LONG)
        time.sleep(0.5)
        assert not answered.done()
        yield answered


def crowd(server: Server, count: int) -> "list[Future[httpx.Response]]":
    """That many short queries at the same moment."""
    pool = ThreadPoolExecutor(count)
    together = threading.Barrier(count)

    def one(row: int) -> httpx.Response:
        together.wait()
        return ask(server, row)

    futures = [pool.submit(one, row) for row in range(count)]
    pool.shutdown(wait=False)
    return futures


@pytest.fixture(scope="module", params=[2, 45])
def narrow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> Iterator[tuple[Server, int]]:
    """A server that computes one query at a time, and how many may wait."""
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("narrow"))
    with serving(data, CONCURRENCY=1, MAX_WAITING=request.param) as server:
        yield server, request.param


def test_a_query_over_the_limit_gets_503_with_retry_after_and_the_others_their_answers(
    narrow: tuple[Server, int],
) -> None:
    server, waiting = narrow
    expected = claims(answer(server.client, digit(0)))
    with busy(server) as first:
        responses = [future.result() for future in crowd(server, waiting + 5)]
        assert first.result().status_code == 200
    assert sorted(response.status_code for response in responses) == [200] * waiting + [503] * 5
    for response in responses:
        if response.status_code == 503:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["type"] == "urn:retrievalguard:problem:overloaded"
            assert response.headers["retry-after"].isdecimal()
            assert 1 <= int(response.headers["retry-after"]) <= 3600
    assert claims(answer(server.client, digit(0))) == expected


def test_health_metrics_and_gallery_answer_while_queries_wait(narrow: tuple[Server, int]) -> None:
    server, waiting = narrow
    with busy(server) as first:
        crowded = crowd(server, waiting)
        time.sleep(0.3)
        seconds = {}
        for path in ("/livez", "/metrics", "/model", "/gallery", "/readyz"):
            started = time.perf_counter()
            assert server.client.get(path).status_code == 200
            seconds[path] = time.perf_counter() - started
        still_waiting = not first.done()
        assert [future.result().status_code for future in crowded] == [200] * waiting
    assert still_waiting
    assert max(seconds.values()) < 2, seconds


def test_a_refused_query_is_refused_at_once(narrow: tuple[Server, int]) -> None:
    server, waiting = narrow
    with busy(server) as first:
        crowded = crowd(server, waiting)
        time.sleep(0.3)
        started = time.perf_counter()
        refused = ask(server, 0)
        seconds = time.perf_counter() - started
        assert not first.done()
        for future in crowded:
            future.result()
    assert refused.status_code == 503
    assert seconds < 1
