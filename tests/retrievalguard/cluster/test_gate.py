"""What the proxy answers for want of a replica becomes 503 with a time; a replica's answer stays as it is."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from retrievalguard.cluster.gate import Gate
from service.errors import ModelFailure, NotReady
from service.http.problems import problem_response


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """As Serve's proxy does when the replica dies."""


async def error(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("of the proxy")


def asked(app: ASGIApp, path: str = "/retrieve") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Gate(app), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://cluster") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "app",
    [
        nothing,
        error,
        PlainTextResponse("Internal Server Error", 500),
        PlainTextResponse("no replica", 503),
        PlainTextResponse("Path '/retrieve' not found.", 404),
    ],
)
def test_what_is_the_proxys_becomes_a_problem(app: ASGIApp) -> None:
    answer = asked(app)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "urn:retrievalguard:problem:not-ready"


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (problem_response(ModelFailure("the model failed")), 500),
        (problem_response(NotReady("wait", 7)), 503),
        (Response(b"png", media_type="image/png"), 200),
        (PlainTextResponse("Disallowed CORS origin", 400), 400),
        (StreamingResponse(iter(["one", "two"])), 200),
    ],
)
def test_what_is_a_replicas_stays(app: ASGIApp, status: int) -> None:
    answer = asked(app)
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("7" if b"wait" in answer.content else None)


def test_a_stream_that_breaks_is_not_ended_as_if_it_were_whole() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the replica died")

    with pytest.raises(RuntimeError, match="the replica died"):
        asked(broken)


def test_the_health_check_of_the_proxy_is_its_own() -> None:
    assert asked(PlainTextResponse("not healthy", 503), "/-/healthz").text == "not healthy"
