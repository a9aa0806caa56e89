"""What is seen of a request: its count, its time, its id, its trace, and an error that nobody expected."""

import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.http.probes import is_probe
from service.http.problems import plain_response
from service.keys import Key
from service.metrics import Metrics
from service.retrieval.answer import RetrieveResponse
from service.retrieval.known import KnownAnswer
from service.traces import Traces

log = logging.getLogger("retrievalguard")
access = logging.getLogger("retrievalguard.access")

# An id that a client may give its request.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Observe:
    """Counts, times, traces and logs every request, gives each an id, and answers for what nobody expected.

    The id is the client's if it is a plain one, and is in every line of the log that the request causes. Of
    an unexpected error nothing leaves the server but this id.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Traces | None = None) -> None:
        self._app, self._metrics, self._traces = app, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and take notes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # What asks every few seconds, day and night, would hide the rest of log and traces.
        probe, method = is_probe(scope), scope["method"]
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex
        # Not taken back at the end: the server's own lines about the request come after it, and every request
        # is a task of its own.
        logs.request_id.set(request_id)
        scope.setdefault("state", {})  # where `note` and who checks keys leave what is told below
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        traces = None if probe else self._traces
        with nullcontext() if traces is None else traces.request(*_asked(scope)) as traced:
            try:
                await self._app(scope, receive, respond)
            except Exception:
                log.exception("the request failed")
                self._metrics.failures.inc()
                if status:
                    raise  # the answer has begun: all that is left is to cut it off
                detail = f"the server failed to answer; its log tells why, under request id {request_id}"
                await plain_response(500, detail)(scope, receive, respond)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                seconds = time.perf_counter() - started
                self._metrics.requests.labels(route, str(status)).inc()
                self._metrics.latency.labels(route).observe(seconds)
                facts = _facts(scope["state"])
                if traced is not None:
                    traced.tell(method, route, status, facts | {"request_id": request_id})
                    facts["trace_id"] = traced.trace_id
                if not probe:
                    _log(method, route, status, seconds, facts)


def note(request: Request, answer: RetrieveResponse) -> None:
    """Have the line of `request` in the log, and its span, tell of `answer`; of several, what they sum to."""
    facts: Counter[str] = request.scope["state"].setdefault("answered", Counter())
    facts["answers"] += 1
    facts["certified"] += answer.certificate.status == "certified"
    facts["cache_hits"] += answer.cache == "hit"
    facts["samples"] += answer.certificate.samples
    facts["gallery_version"] = max(facts["gallery_version"], answer.gallery.version)


def note_known(scope: Scope, answer: KnownAnswer) -> None:
    """The same, of an answer that was known."""
    scope["state"]["answered"] = {
        "answers": 1,
        "certified": int(answer.certified),
        "cache_hits": 1,
        "samples": answer.samples,
        "gallery_version": answer.version,
    }


def _asked(scope: Scope) -> tuple[str, dict[str, str]]:
    """The method and the headers."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return scope["method"], headers


def _facts(state: dict[str, Any]) -> dict[str, str | int]:
    """What else is told of a request: its key, by its id, and its answers."""
    key: Key | None = state.get("key")
    answered: Mapping[str, int] = state.get("answered", {})
    return ({} if key is None else {"key": key.id}) | dict(answered)


def _log(method: str, route: str, status: int, seconds: float, facts: dict[str, str | int]) -> None:
    """A line for a request: its route rather than its path, which a client chooses."""
    ms = round(1000 * seconds, 2)
    told = "".join(f", {name} {value}" for name, value in facts.items())
    shown = {"method": method, "route": route, "status": status, "ms": ms, **facts}
    if access.isEnabledFor(logging.INFO):
        # As `access.info`, which looks for the caller besides, in a quarter of its time: no line shows that.
        message, values = "%s %s %d in %s ms%s", (method, route, status, ms, told)
        access.handle(
            access.makeRecord(access.name, logging.INFO, __file__, 0, message, values, None, extra=shown)
        )
