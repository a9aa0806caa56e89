"""What the proxy answers for want of a replica becomes 503 with a time; a replica's answer stays as it is."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from retrievalguard.client.refusals import ServiceBroken, problem_of
from retrievalguard.cluster.gate import Gate
from service.errors import ModelFailure, NotReady
from service.http.problems import problem_response


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """As Serve's proxy does when the replica dies."""


async def error(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("of the proxy")


def asked(app: ASGIApp, path: str = "/retrieve", method: str = "GET") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Gate(app), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://cluster") as client:
            return await client.request(method, path)

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


CHANGES = [
    ("POST", "/gallery/items"), ("PUT", "/v1/gallery/items/retrieve"), ("PATCH", "/gallery/items/a"),
    ("DELETE", "/v1/gallery/items"), ("POST", "/v1/gallery/jobs"), ("POST", "/gallery/snapshots/a/restore"),
]  # fmt: skip
QUERIES = [
    ("POST", "/retrieve"), ("POST", "/v1/retrieve/batch"), ("POST", "/root/attack"), ("POST", "/model/input"),
    ("HEAD", "/gallery"),
]  # fmt: skip


@pytest.mark.parametrize("app", [nothing, error, PlainTextResponse("Internal Server Error", 500)])
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_change_that_may_have_been_made_is_not_said_to_be_unsent(
    app: ASGIApp, method: str, path: str
) -> None:
    answer = asked(app, path, method)
    assert answer.status_code == 502
    assert "retry-after" not in answer.headers
    assert "not known whether it was done" in answer.json()["detail"]
    with pytest.raises(ServiceBroken):  # which our client does not send again
        raise problem_of(answer)


@pytest.mark.parametrize(("method", "path"), QUERIES)
def test_a_query_may_be_sent_again(method: str, path: str) -> None:
    answer = asked(nothing, path, method)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_before_there_is_an_application_a_change_was_not_made() -> None:
    assert asked(PlainTextResponse("Path not found.", 404), "/gallery/items", "POST").status_code == 503


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


def test_an_answer_has_one_id() -> None:
    twice = Response(b"", headers={"a": "b"})
    twice.raw_headers += [(b"x-request-id", b"1"), (b"X-Request-Id", b"1")]
    headers = asked(twice).headers
    assert (headers.get_list("x-request-id"), headers["a"]) == (["1"], "b")


def test_a_stream_that_breaks_is_not_ended_as_if_it_were_whole() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the replica died")

    with pytest.raises(RuntimeError, match="the replica died"):
        asked(broken)


def test_the_health_check_of_the_proxy_is_its_own() -> None:
    assert asked(PlainTextResponse("not healthy", 503), "/-/healthz").text == "not healthy"
