"""One query."""

from fastapi import APIRouter, Request, Response

from service.http import forms
from service.http.accept import prefers_stream
from service.http.access import samples_of
from service.http.body import read_query
from service.http.dependencies import Service
from service.http.known import name_of
from service.http.observe import note
from service.http.problems import documented
from service.http.streaming import plain, streamed
from service.http.tenants import check_asked, told
from service.images import pixels_tensor
from service.retrieval.answer import RetrieveResponse
from service.retrieval.answering import OnRound

router = APIRouter()


_EVENTS = {
    "schema": {
        "type": "string",
        "description": "Server-sent events, if `Accept` prefers them: `round` (RoundBody) after each round of"
        " samples, then `answer` (RetrieveResponse), or `problem` (ProblemBody) if it fails after the first.",
    },
    "x-events": {
        "round": {"$ref": "#/components/schemas/RoundBody"},
        "answer": {"$ref": "#/components/schemas/RetrieveResponse"},
        "problem": {"$ref": "#/components/schemas/ProblemBody"},
    },
    "example": 'event: round\ndata: {"samples":512,"radius":0.43,"neighbor":{"id":"a.png","label":"3"}}\n\n',
}


@router.post(
    "/retrieve",
    response_model=RetrieveResponse,
    responses=documented(400, 403, 404, 409, 413, 415, 422, 500, 503)
    | {200: {"content": {"text/event-stream": _EVENTS}}},
    openapi_extra=forms.operation(),
)
async def retrieve(request: Request, retriever: Service) -> Response:
    """The nearest neighbour of an image, and the l2 radius within which it cannot change."""
    query = await read_query(request, retriever.settings.max_body_bytes)
    check_asked(request, query.options.gallery)
    stop, limiter = query.options.stop(), request.app.state.queries

    def answer(on_round: OnRound | None = None) -> RetrieveResponse:
        image = (
            pixels_tensor(query.pixels, retriever.model.input_shape) if query.image is None else query.image
        )
        found = retriever.retrieve(
            image, query.options, stop=stop, on_round=on_round, reserve=samples_of(request),
            name=name_of(request) if on_round is None else None,  # a stream is never known
        )  # fmt: skip
        note(request, found)
        return told(request, found)

    if prefers_stream(request.headers.getlist("accept")):
        return await streamed(request, stop, answer, limiter)
    return await plain(request, stop, answer, limiter)


ROUTE = router.routes[0]
