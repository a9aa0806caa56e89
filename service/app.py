"""The FastAPI application around a retriever."""

import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, Unavailable, plain_problem
from service.metrics import Metrics
from service.retriever import Retriever
from service.routes import router
from service.schemas import ProblemBody

log = logging.getLogger("retrievalguard")

PROBLEM = "application/problem+json"


def create_app(retriever: Retriever) -> FastAPI:
    """The application; it owns `retriever` and closes it at shutdown. `/docs` works without a network."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        retriever.close()

    app: FastAPI = FastAPIOffline(
        title="RetrievalGuard",
        version=version("retrievalguard"),
        summary="The nearest neighbour of an image, and the radius within which it cannot change.",
        lifespan=lifespan,
    )
    app.state.retriever = retriever
    # One thread more than may be admitted: it is the one that is told to come back later. Other routes have
    # their own threads, so that health checks never wait for queries.
    limits = retriever.settings
    app.state.queries = CapacityLimiter(limits.max_queries + 1)
    app.include_router(router)
    app.add_middleware(Observe, metrics=retriever.metrics)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    """Put the problem document into the OpenAPI schemas, in place of FastAPI's own validation errors."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schemas = schema["components"]["schemas"]
        schemas["ProblemBody"] = ProblemBody.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in schema["paths"].values():
            for operation in path.values():
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    del operation["responses"]["422"]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _respond(body: dict[str, object], status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, status, headers, media_type=PROBLEM)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Problem):
        raise error
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Unavailable) else None
    return _respond(error.body(), error.status, headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = {
        404: f"there is nothing at {request.url.path}: see /docs",
        405: f"{request.url.path} does not take {request.method}: see /docs",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers) if error.headers else None
    return _respond(plain_problem(error.status_code, detail), error.status_code, headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    return _respond(plain_problem(422, f"the request does not fit the route: {error}"), 422)


class Observe:
    """Counts and times every request, gives each an id, and answers for what nobody expected.

    The id is the client's if it is a plain one. Of an unexpected error nothing leaves the server but this id,
    under which the log tells of it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and take notes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) else uuid.uuid4().hex
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, respond)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise  # the answer has begun: all that is left is to cut it off
            detail = f"the server failed to answer; its log tells why, under request id {request_id}"
            await _respond(plain_problem(500, detail), 500)(scope, receive, respond)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - started)
