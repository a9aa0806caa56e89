"""Problem documents (RFC 9457): every error that a client meets, in one shape, made in one place."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from service.errors import InvalidOption, Problem, Unauthorized, Unavailable

MEDIA_TYPE = "application/problem+json"


class OptionError(BaseModel):
    """What is wrong with one option."""

    option: str
    message: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details; `type` is stable, `detail` says what to do next.

    `errors` is there if the problem is `invalid-option`.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: list[OptionError] = []


def document(problem: Problem) -> dict[str, Any]:
    """The members of the document of `problem`, its extensions included."""
    return _body(problem.status, problem.slug, problem.title, problem.detail) | problem.extensions


def problem_body(problem: Problem) -> ProblemBody:
    """The same, for a place in the answer to a batch."""
    return ProblemBody.model_validate(document(problem))


def unexpected_body() -> ProblemBody:
    """In such a place, what tells of an error that nobody expected."""
    return ProblemBody.model_validate(plain_document(500, "the server failed; its log tells why"))


def plain_document(status: int, detail: str) -> dict[str, Any]:
    """The document of an error that HTTP itself defines, such as 404 for an unknown route."""
    title = HTTPStatus(status).phrase
    return _body(status, title.lower().replace(" ", "-"), title, detail)


def _body(status: int, slug: str, title: str, detail: str) -> dict[str, Any]:
    return ProblemBody(
        type=f"urn:retrievalguard:problem:{slug}", title=title, status=status, detail=detail
    ).model_dump(exclude_unset=True)


def plain_response(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed with an error of HTTP itself."""
    return JSONResponse(plain_document(status, detail), status, headers, media_type=MEDIA_TYPE)


def problem_response(problem: Problem) -> JSONResponse:
    """The answer to a request that `problem` ended."""
    headers = {}
    if isinstance(problem, Unavailable):
        headers["Retry-After"] = str(problem.retry_after)
    if isinstance(problem, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(document(problem), problem.status, headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its OpenAPI description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": "A problem (RFC 9457)", "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Have `app` answer every error with a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Problem):
        raise error
    return problem_response(error)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = {
        404: f"there is nothing at {request.url.path}: see /docs",
        405: f"{request.url.path} does not take {request.method}: see /docs",
    }.get(error.status_code, str(error.detail))
    return plain_response(error.status_code, detail, dict(error.headers) if error.headers else None)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem_response(InvalidOption(*((str(one["loc"][-1]), one["msg"]) for one in error.errors())))
