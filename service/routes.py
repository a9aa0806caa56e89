"""The routes: each reads its request, asks the retriever, and says what it found."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from index import GalleryError
from models import CHUNK
from service.answering import OnRound
from service.decode import MEDIA_TYPES, pixels_tensor
from service.errors import ItemNotFound, NotReady, Problem
from service.options import RetrieveOptions
from service.request_body import read_query
from service.response import radius_unit
from service.retriever import Retriever
from service.schemas import (
    Defaults,
    ForwardPassBody,
    GalleryBody,
    Health,
    ItemBody,
    ModelBody,
    RetrieveResponse,
)
from service.streaming import plain, streamed

router = APIRouter()


def _retriever(request: Request) -> Retriever:
    retriever: Retriever = request.app.state.retriever
    return retriever


Service = Annotated[Retriever, Depends(_retriever)]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": "A problem (RFC 9457)", "content": content} for status in statuses}


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
    responses=_problems(400, 409, 413, 415, 422, 500, 503)
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

    if "text/event-stream" in request.headers.get("accept", ""):
        return await streamed(request, stop, answer, limiter)
    return await plain(request, stop, answer, limiter)


@router.get("/gallery")
def gallery(retriever: Service) -> GalleryBody:
    """Size, version and labels of the gallery."""
    snapshot = retriever.snapshot()
    counts = np.bincount(snapshot.labels, minlength=len(snapshot.label_names))
    labels = {str(name): int(count) for name, count in zip(snapshot.label_names, counts, strict=True)}
    return GalleryBody(version=snapshot.version, size=len(snapshot), labels=labels)


@contextmanager
def _known_item() -> Iterator[None]:
    """Tell a client that asks for an item that is not there."""
    try:
        yield
    except GalleryError as error:
        raise ItemNotFound(f"{error}: see GET /gallery and `retrievalguard gallery list`") from error


@router.get("/gallery/items/{item_id:path}/image", response_class=Response, responses=_problems(404))
def item_image(item_id: str, retriever: Service) -> Response:
    """The image of an item, byte for byte as it was added."""
    with _known_item():
        content, media_type = retriever.gallery.store.image(item_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/gallery/items/{item_id:path}", responses=_problems(404))
def item(item_id: str, retriever: Service) -> ItemBody:
    """Label and metadata of an item."""
    with _known_item():
        found = retriever.gallery.store.item(item_id)
    return ItemBody(id=found.id, label=found.label, metadata=found.metadata)


@router.get("/model")
def model(retriever: Service) -> ModelBody:
    """The model that is served, and what a query without options gets."""
    manifest, settings, options = retriever.model.manifest, retriever.settings, RetrieveOptions()
    calibration = retriever.smoothed.calibration
    return ModelBody(
        name=manifest.name,
        digest=retriever.smoothed.digest,
        input_shape=manifest.input_shape,
        dimension=retriever.model.dimension,
        sigma=retriever.sigma,
        radius_unit=radius_unit(manifest.input_shape),
        forward_pass=ForwardPassBody(
            variant=calibration.variant,
            batch=calibration.batch * CHUNK,
            reason=calibration.reason,
            measured=list(calibration.measured),
        ),
        defaults=Defaults(
            alpha=settings.alpha,
            samples=settings.samples,
            min_gain=settings.min_gain,
            guarantee=options.guarantee,
            rule=options.rule,
            method=options.method,
        ),
    )


@router.get("/livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses=_problems(503))
def readyz(retriever: Service) -> Health:
    """The model and a search work: both are run."""
    try:
        return Health(status="ok", checks=retriever.check())
    except (Problem, sqlite3.Error, RuntimeError, OSError) as error:
        raise NotReady(f"the service cannot answer queries: {error}", retry_after=5) from error


@router.get("/metrics", response_class=Response)
def metrics(retriever: Service) -> Response:
    """Prometheus metrics; docs/operations.md lists them."""
    retriever.snapshot()
    retriever.metrics.queued.set(retriever.smoothed.engine.waiting)
    return Response(retriever.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
