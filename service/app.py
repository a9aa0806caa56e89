"""The FastAPI application around a retriever."""

import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded, Problem, plain_problem
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
    app.include_router(router)
    app.add_middleware(Observe, metrics=retriever.metrics)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    """Put the problem document into the OpenAPI schemas; the routes refer to it by name."""
    describe = app.openapi

    def openapi() -> dict[str, object]:
        schema = describe()
        schema["components"]["schemas"].setdefault("ProblemBody", ProblemBody.model_json_schema())
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _respond(body: dict[str, object], status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, status, headers, media_type=PROBLEM)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Problem):
        raise error
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Overloaded) else None
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


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Nothing of the error leaves the server but the id under which the log tells of it."""
    detail = f"the server failed to answer; its log tells why, under request id {request.state.request_id}"
    return _respond(plain_problem(500, detail), 500)


class Observe:
    """Counts and times every request, and gives each an id: the client's, if it is a plain one."""

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
        request_id = given if 0 < len(given) <= 64 and given.isalnum() else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

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
            raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - started)
