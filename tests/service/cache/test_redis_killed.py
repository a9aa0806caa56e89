"""Redis killed, restarted, hung and full under load: time is lost, and never an answer."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from service.retriever import Retriever
from tests.service.processes import RedisServer, Server, wait_for
from tests.service.queries import Json, answer, claims, digit, post

ROWS = range(20, 26)


@pytest.fixture(scope="module")
def known(demo_retriever: Retriever) -> dict[int, Json]:
    """The answers without any server, by query."""
    return {row: claims(demo_retriever.retrieve(digit(row)).model_dump(mode="json")) for row in ROWS}


class Load:
    """What threads that never stop asking got for an answer."""

    def __init__(self) -> None:
        self.answered = 0
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def more(self, count: int) -> None:
        """Wait until that many more are answered."""
        seen = self.answered
        wait_for(lambda: self.answered >= seen + count)


def unavailable(server: Server) -> float:
    return server.metric("retrievalguard_cache_failures_total", reason="unavailable")


@contextmanager
def under_load(server: Server, known: dict[int, Json]) -> Iterator[Load]:
    """Three threads ask for known answers until the end of the block."""
    load = Load()

    def ask(offset: int) -> None:
        while not load.stop.is_set():
            row = ROWS[(load.answered + offset) % len(ROWS)]
            response = post(server.client, digit(row))
            load.answered += 1
            if response.status_code != 200 or claims(response.json()) != known[row]:
                load.wrong.append(response.text)

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(ask, offset) for offset in range(3)]
        try:
            yield load
        finally:
            load.stop.set()
        for thread in threads:
            thread.result()


def test_a_redis_that_is_killed_and_restarted_under_load_changes_no_answer(
    redis_backed_server: Server, redis_server: RedisServer, known: dict[int, Json]
) -> None:
    failures = unavailable(redis_backed_server)
    with under_load(redis_backed_server, known) as load:
        for _ in range(2):
            wait_for(lambda: answer(redis_backed_server.client, digit(ROWS[0]))["cache"] == "hit")
            redis_server.kill()
            load.more(20)
            redis_server.start()
            wait_for(lambda: answer(redis_backed_server.client, digit(ROWS[1]))["cache"] == "hit")
    assert load.wrong == []
    assert load.answered > 40
    assert unavailable(redis_backed_server) > failures


def test_a_redis_that_hangs_slows_an_answer_by_less_than_a_second(
    redis_backed_server: Server, redis_server: RedisServer, known: dict[int, Json]
) -> None:
    client, failures = redis_backed_server.client, unavailable(redis_backed_server)
    wait_for(lambda: answer(client, digit(ROWS[0]))["cache"] == "hit")
    with redis_server.hanging():
        for row in ROWS:
            started = time.perf_counter()
            body = answer(client, digit(row))
            assert time.perf_counter() - started < 1 + body["timing_ms"]["certify"] / 1000
            assert claims(body) == known[row]
            assert body["cache"] == "miss"
        with under_load(redis_backed_server, known) as load:
            load.more(30)
    assert load.wrong == []
    assert unavailable(redis_backed_server) > failures
    wait_for(lambda: answer(client, digit(ROWS[0]))["cache"] == "hit")


def test_a_full_redis_changes_no_answer(
    redis_backed_server: Server, redis_server: RedisServer, known: dict[int, Json]
) -> None:
    client = redis_backed_server.client
    with redis_server.client() as control:
        control.flushall()
        wait_for(lambda: answer(client, digit(ROWS[0]))["cache"] == "hit")
        control.config_set("maxmemory-policy", "noeviction")
        control.config_set("maxmemory", 1)
        try:
            failures = unavailable(redis_backed_server)
            bodies = [answer(client, digit(row)) for row in ROWS[1:] for _ in range(2)]
        finally:
            control.config_set("maxmemory", 0)
    assert [claims(body) for body in bodies] == [known[row] for row in ROWS[1:] for _ in range(2)]
    assert {body["cache"] for body in bodies} == {"miss"}
    assert unavailable(redis_backed_server) > failures
    wait_for(lambda: answer(client, digit(ROWS[1]))["cache"] == "hit")


def test_readiness_does_not_depend_on_redis(redis_backed_server: Server, redis_server: RedisServer) -> None:
    redis_server.kill()
    try:
        assert redis_backed_server.client.get("/readyz").status_code == 200
    finally:
        redis_server.start()
