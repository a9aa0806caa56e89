"""The lines of the log that a request causes: each has its id, and probes cause none."""

import asyncio
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from anyio import to_thread
from fastapi import FastAPI

from service import logs
from service.http.observe import Observe
from service.metrics import Metrics
from tests.service.processes import Server, wait_for
from tests.service.queries import digit, post

log = logging.getLogger("retrievalguard.test")


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    @app.get("/items/{item_id}")
    async def item(item_id: str) -> str:
        log.info("on the loop")
        await to_thread.run_sync(log.info, "in a thread")
        await asyncio.create_task(in_a_task())
        return item_id

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("nobody expected this")

    async def in_a_task() -> None:
        log.info("in a task")

    app.add_middleware(Observe, metrics=Metrics())
    return app


class Lines(logging.Handler):
    """Records as the JSON lines that they become, with the request of the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonFormatter())
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    handler, logger = Lines(), logging.getLogger("retrievalguard")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def ask(*requests: tuple[str, str]) -> list[httpx.Response]:
    """The answers to requests of (path, id) at the same time, each a task of its own, as in a server."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(
                *(client.get(path, headers={"x-request-id": request_id}) for path, request_id in requests)
            )

    return asyncio.run(all_of_them())


def test_every_line_of_a_request_has_its_id_and_the_last_is_of_its_route(
    lines: list[dict[str, object]],
) -> None:
    ask(("/items/secret-name", "abc"))
    assert [line["message"] for line in lines[:3]] == ["on the loop", "in a thread", "in a task"]
    assert {line["request_id"] for line in lines} == {"abc"}
    access = lines[-1]
    assert (access["method"], access["route"], access["status"]) == ("GET", "/items/{item_id}", 200)
    assert access["logger"] == "retrievalguard.access"
    assert isinstance(access["ms"], float)
    assert "secret-name" not in str(lines)


def test_requests_at_the_same_time_keep_their_ids_apart(lines: list[dict[str, object]]) -> None:
    ask(("/items/x", "one"), ("/items/x", "two"), ("/items/x", "three"))
    for name in ("one", "two", "three"):
        assert len([line for line in lines if line["request_id"] == name]) == 4


def test_an_unexpected_error_is_told_with_its_traceback_and_id(lines: list[dict[str, object]]) -> None:
    (answer,) = ask(("/broken", "abc"))
    failure, access = lines
    assert "RuntimeError: nobody expected this" in str(failure["exception"])
    assert failure["request_id"] == access["request_id"] == answer.headers["x-request-id"] == "abc"
    assert access["status"] == 500


def test_probes_are_left_out(lines: list[dict[str, object]]) -> None:
    assert ask(("/livez", "abc"))[0].status_code == 200
    assert lines == []


# --- a real server


def test_every_line_of_a_server_is_json_with_access_lines_but_none_of_probes(demo_server: Server) -> None:
    found = post(demo_server.client, digit(3)).headers["x-request-id"]
    for probe in ("/livez", "/readyz", "/metrics"):
        demo_server.client.get(probe)
    demo_server.client.get("/no/such/route")

    def records() -> list[dict[str, object]]:
        return [json.loads(line) for line in demo_server.log.read_text().splitlines()]

    wait_for(lambda: any(record.get("route") == "none" for record in records()))
    for record in records():
        assert {"time", "level", "logger", "message"} <= record.keys()
    routes = {record["route"] for record in records() if record["logger"] == "retrievalguard.access"}
    assert "/retrieve" in routes
    assert not routes & {"/livez", "/readyz", "/metrics"}
    assert any(record.get("request_id") == found and record.get("status") == 200 for record in records())
    assert any(record["logger"] == "uvicorn.error" for record in records())
    assert not any(record["logger"] == "uvicorn.access" for record in records())
