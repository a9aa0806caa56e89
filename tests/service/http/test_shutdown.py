"""SIGTERM: what runs is answered, if need be with less; nothing new is taken; the process ends in time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models import Stop
from service.retrieval.options import RetrieveOptions
from service.retrieval.query import checked
from service.retriever import Retriever
from tests.service.processes import Server, copy_gallery, serving, wait_for
from tests.service.queries import claims, digit, events, post, tensor
from tests.service.raw import exchange, head, many, received

# How much longer than its grace a process may live: it closes its databases and unloads torch.
MARGIN = 6
# Half of it is for certifying what there is, on a machine that does other things as well.
GRACE = 6
STREAM = {"content-type": "image/png", "accept": "text/event-stream"}


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, demo_gallery: Path) -> Iterator[Server]:
    data, grace = copy_gallery(demo_gallery, tmp_path), request.param
    with serving(data, SHUTDOWN_GRACE_SECONDS=grace, MAX_BACKLOG_SECONDS=600) as server:
        yield server


def ask(server: Server, row: int, samples: int, **options: object) -> httpx.Response:
    return post(server.client, digit(row), max_samples=samples, min_gain=0, **options)


def at_work(server: Server, queries: int) -> bool:
    """Whether so many queries are under way: each has drawn its first rounds, and waits for more."""
    return (
        server.metric("retrievalguard_samples_drawn_total") >= 256 * queries
        and server.metric("retrievalguard_queued_samples") > 0
    )


def draining(server: Server) -> bool:
    return "shutting down" in server.log.read_text()


@pytest.mark.parametrize("server", [60], indirect=True)
def test_running_queries_are_answered_nothing_new_is_taken_and_the_process_exits_0(
    server: Server, demo_retriever: Retriever
) -> None:
    options = RetrieveOptions(max_samples=20_000, min_gain=0)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(ask, server, row, 20_000) for row in range(3)]
        wait_for(lambda: at_work(server, 3))
        server.process.terminate()
        wait_for(lambda: draining(server))
        assert not any(future.done() for future in running)
        refused, unready = ask(server, 4, 256), server.client.get("/readyz")
        for response in (refused, unready):
            assert response.status_code == 503
            assert response.headers["retry-after"]
        assert refused.json()["type"] == "urn:retrievalguard:problem:shutting-down"
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/metrics").status_code == 200
        responses = [future.result() for future in running]
    assert [response.status_code for response in responses] == [200] * 3
    assert claims(responses[0].json()) == claims(
        demo_retriever.retrieve(tensor(0), options).model_dump(mode="json")
    )
    assert server.process.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/livez")
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("server", [GRACE], indirect=True)
def test_queries_that_outlast_the_grace_answer_with_what_is_certified_so_far(
    server: Server, demo_retriever: Retriever
) -> None:
    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(ask, server, row, 100_000) for row in range(2)]
        running.append(pool.submit(ask, server, 2, 100_000, rule="vote"))
        fixed = pool.submit(ask, server, 3, 100_000, method="paper")
        query = {"max_samples": 100_000, "min_gain": 0}
        stream = pool.submit(server.client.post, "/retrieve", params=query, content=digit(4), headers=STREAM)
        wait_for(lambda: at_work(server, 5))
        started = time.perf_counter()
        server.process.terminate()
        responses = [future.result() for future in running]
        *rounds, (name, last) = events(stream.result())
        none = fixed.result()
        assert server.process.wait(20) == 0
    assert time.perf_counter() - started < GRACE + MARGIN
    assert (name, bool(rounds)) == ("answer", True)
    bodies = [*enumerate(response.json() for response in responses), (4, last)]
    # They are finished one after another: one may have been.
    assert sum(body["certificate"]["samples"] < 100_000 for _, body in bodies) >= 3
    for row, body in bodies:
        certificate = body["certificate"]
        samples = certificate["samples"]
        assert 256 <= samples <= 100_000
        # It is what as many samples certify, and no more: the very ones that the whole query would have used.
        rule = "vote" if row == 2 else "embedding"
        options = RetrieveOptions(max_samples=100_000, min_gain=0, rule=rule)
        looked = looked_at(demo_retriever, row, options, samples)
        assert (certificate["label_radius"], certificate["item_radius"]) == looked
    # A method that holds for one number of samples has nothing to say about fewer.
    assert none.status_code == 503
    assert none.headers["retry-after"]
    assert "Traceback" not in server.log.read_text()


def looked_at(retriever: Retriever, row: int, options: RetrieveOptions, samples: int) -> tuple[float, float]:
    """The radii of label and item after so many samples of a query with these options."""
    query = checked(tensor(row), options, retriever.settings, retriever.smoothed)
    with retriever._answering.samples.of(query.image) as drawn:
        first = drawn.first(samples, Stop())
    contest = retriever._answering.contest(retriever.snapshot(), query.terms, options.rule)
    certificate = contest.outcome(first).certificate
    return certificate.label_radius, certificate.item_radius


@pytest.mark.parametrize("server", [1], indirect=True)
def test_what_cannot_be_answered_in_the_grace_is_told_so_and_holds_nothing(server: Server) -> None:
    body = b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}"
    slow = head(len(body)) + body[:-1]
    with many(server.url, 20, slow) as reading, ThreadPoolExecutor(45) as pool:
        wait_for(lambda: server.client.get("/livez").status_code == 200)
        hostile = [pool.submit(exchange, server.url, head(len(body)) + body) for _ in range(45)]
        started = time.perf_counter()
        server.process.terminate()
        answers = [received(connection) for connection in reading]
        assert server.process.wait(20) == 0
        seconds = time.perf_counter() - started
        assert {found.status for found in answers} == {503}
        assert all(found.headers["retry-after"] for found in answers)
        assert {future.result().status for future in hostile} <= {0, 413, 503}
    assert seconds < 1 + MARGIN
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("server", [30], indirect=True)
def test_a_second_signal_does_not_wait(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, 0, 100_000)
        wait_for(lambda: at_work(server, 1))
        server.process.terminate()
        wait_for(lambda: draining(server))
        started = time.perf_counter()
        server.process.terminate()
        assert running.result().status_code == 503
        assert server.process.wait(20) == 0
    assert time.perf_counter() - started < MARGIN
    assert "Traceback" not in server.log.read_text()
