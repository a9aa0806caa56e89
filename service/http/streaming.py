"""Answers as they grow, as server-sent events; and work that stops when nobody waits for it any more."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager

from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel

from models import Stop
from service.errors import Abandoned, Problem
from service.http.problems import document, plain_document
from service.metrics import Metrics
from service.retrieval.answer import RetrieveResponse, RoundBody
from service.retrieval.answering import OnRound

log = logging.getLogger("retrievalguard")

# Nobody reads it: the client is gone. The number is the one that proxies log for this.
LEFT = 499


@asynccontextmanager
async def cancelled_when_left(request: Request, *stops: Stop) -> AsyncIterator[None]:
    """Cancel `stops` when the client closes the connection of `request`, whose body has been read.

    When the service shuts down, they are hurried first.
    """

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        await to_thread.run_sync(_cancel, stops)  # who is woken may hold a lock for a moment

    watcher = asyncio.create_task(watch())
    try:
        with ExitStack() as hurried:
            for stop in stops:
                hurried.enter_context(request.app.state.draining.hurrying(stop))
            yield
    except asyncio.CancelledError:  # the service shuts down, and cannot wait any longer
        _cancel(stops)
        raise
    finally:
        watcher.cancel()


def _cancel(stops: Iterable[Stop]) -> None:
    for stop in stops:
        stop.cancel()


async def plain(
    request: Request, stop: Stop, answer: Callable[[], BaseModel], limiter: CapacityLimiter
) -> Response:
    """One JSON answer."""
    async with cancelled_when_left(request, stop):
        try:
            found = await to_thread.run_sync(answer, limiter=limiter, abandon_on_cancel=True)
        except Abandoned:
            return Response(status_code=LEFT)
    return Response(found.model_dump_json(), media_type="application/json")


async def streamed(
    request: Request,
    stop: Stop,
    answer: Callable[[OnRound], RetrieveResponse],
    limiter: CapacityLimiter,
) -> Response:
    """Events `round`, one for each round of samples, then `answer`; `problem` if it fails after the first.

    What fails before is answered with its own HTTP status, as without a stream.
    """
    events: asyncio.Queue[bytes | None] = asyncio.Queue()

    def on_round(reached: RoundBody) -> None:
        from_thread.run_sync(events.put_nowait, _event("round", reached.model_dump_json()))

    work = asyncio.create_task(to_thread.run_sync(answer, on_round, limiter=limiter, abandon_on_cancel=True))

    def done(task: "asyncio.Task[RetrieveResponse]") -> None:
        if not task.cancelled():
            task.exception()  # noted: if the client has left, nobody asks for it
        events.put_nowait(None)

    work.add_done_callback(done)
    async with cancelled_when_left(request, stop):
        first = await events.get()
    if first is None:
        try:
            await work
        except Abandoned:
            return Response(status_code=LEFT)

    async def body() -> AsyncIterator[bytes]:
        event = first
        try:
            async with cancelled_when_left(request, stop):
                while event is not None:
                    yield event
                    event = await events.get()
                yield await _last(work, request.app.state.retriever.metrics)
        finally:
            stop.cancel()

    return EventSourceResponse(body(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _last(work: "asyncio.Task[RetrieveResponse]", metrics: Metrics) -> bytes:
    try:
        return _event("answer", (await work).model_dump_json())
    except Abandoned:
        return b""
    except Problem as problem:
        return _event("problem", json.dumps(document(problem)))
    except Exception:
        log.exception("a streamed query failed")
        metrics.failures.inc()
        return _event("problem", json.dumps(plain_document(500, "the server failed; its log tells why")))


def _event(name: str, data: str) -> bytes:
    return format_sse_event(event=name, data_str=data)
