"""SIGTERM: what runs is answered, nothing new is taken, and the process ends in time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from tests.service.processes import Server, copy_gallery, serving, wait_for
from tests.service.queries import claims, digit, post, tensor


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, demo_gallery: Path) -> Iterator[Server]:
    with serving(copy_gallery(demo_gallery, tmp_path), SHUTDOWN_GRACE_SECONDS=request.param) as server:
        yield server


def ask(server: Server, row: int, samples: int) -> httpx.Response:
    return post(server.client, digit(row), max_samples=samples, min_gain=0)


def at_work(server: Server, queries: int) -> bool:
    """Whether so many queries are under way: each has drawn its first rounds, and waits for more."""
    return (
        server.metric("retrievalguard_samples_drawn_total") >= 256 * queries
        and server.metric("retrievalguard_queued_samples") > 0
    )


@pytest.mark.parametrize("server", [20], indirect=True)
def test_running_queries_are_answered_and_the_process_exits_0(
    server: Server, demo_retriever: Retriever
) -> None:
    options = RetrieveOptions(max_samples=50_000, min_gain=0)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(ask, server, row, 50_000) for row in range(3)]
        wait_for(lambda: at_work(server, 3))
        server.process.terminate()
        wait_for(lambda: "Shutting down" in server.log.read_text())
        assert not any(future.done() for future in running)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/livez")
        responses = [future.result() for future in running]
    assert [response.status_code for response in responses] == [200] * 3
    assert claims(responses[0].json()) == claims(
        demo_retriever.retrieve(tensor(0), options).model_dump(mode="json")
    )
    assert server.process.wait(20) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("server", [1], indirect=True)
def test_a_query_that_outlasts_the_grace_period_does_not_hold_the_process(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(ask, server, row, 100_000) for row in range(4)]
        wait_for(lambda: at_work(server, 4))
        assert not any(future.done() for future in running)
        started = time.perf_counter()
        server.process.terminate()
        server.process.wait(60)
        seconds = time.perf_counter() - started
        for future in running:
            future.exception()
    assert seconds < 4
