"""One query."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.http.accept import prefers_stream
from service.http.body import read_query
from service.http.dependencies import Service
from service.http.problems import documented
from service.http.streaming import plain, streamed
from service.images import MEDIA_TYPES, pixels_tensor
from service.retrieval.answer import RetrieveResponse
from service.retrieval.answering import OnRound
from service.retrieval.options import RetrieveOptions

router = APIRouter()


def _retrieve_openapi() -> dict[str, Any]:
    """The body forms, which FastAPI cannot infer: the route reads the stream itself to bound it."""
    options = RetrieveOptions.model_json_schema()["properties"]
    file = {"type": "string", "format": "binary"}
    shared = {"image": {"type": "string", "description": "base64 or data URI"}}
    pixels = {"pixels": {"type": "array", "description": "C x H x W numbers in [0, 1]", "items": {}}}
    forms = {media: {"schema": file} for media in MEDIA_TYPES.values()} | {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": file} | options}
        },
        "application/json": {
            "schema": {
                "type": "object",
                "properties": shared | pixels | options,
                "oneOf": [{"required": ["image"]}, {"required": ["pixels"]}],
                "additionalProperties": False,
            }
        },
    }
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": schema,
        }
        for name, schema in options.items()
    ]
    return {"requestBody": {"required": True, "content": forms}, "parameters": parameters}


_STREAM = {"description": "With `Accept: text/event-stream`: events `round`, then `answer` (or `problem`)."}


@router.post(
    "/retrieve",
    response_model=RetrieveResponse,
    responses=documented(400, 409, 413, 415, 422, 500, 503)
    | {200: {"content": {"text/event-stream": {"schema": {"type": "string"} | _STREAM}}}},
    openapi_extra=_retrieve_openapi(),
)
async def retrieve(request: Request, retriever: Service) -> Response:
    """The nearest neighbour of an image, and the l2 radius within which it cannot change."""
    query = await read_query(request, retriever.settings.max_body_bytes)
    stop, limiter = query.options.stop(), request.app.state.queries

    def answer(on_round: OnRound | None = None) -> RetrieveResponse:
        image = (
            pixels_tensor(query.pixels, retriever.model.input_shape) if query.image is None else query.image
        )
        return retriever.retrieve(image, query.options, stop=stop, on_round=on_round)

    if prefers_stream(request.headers.getlist("accept")):
        return await streamed(request, stop, answer, limiter)
    return await plain(request, stop, answer, limiter)
