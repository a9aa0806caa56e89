"""Named galleries: names for filters, of which a query may give one."""

from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from service.errors import MalformedBody, Overloaded, UnsupportedMediaType
from service.gallery.named import kept_filter
from service.http.body import check_options, is_json, json_document, read_body
from service.http.changing import Changing
from service.http.dependencies import Service
from service.http.forms import gallery_operation
from service.http.openapi import LOCATION_HEADER
from service.http.problems import documented
from service.http.routes.gallery import labels_of
from service.http.schemas import GalleriesBody, NamedGalleryBody, PartBody
from service.retriever import Retriever

router = APIRouter()


@router.get("/galleries", responses=documented(503))
def galleries(retriever: Service) -> GalleriesBody:
    """All named galleries, `default` first, then by name."""
    found = retriever.named.all()
    return GalleriesBody(galleries=[NamedGalleryBody(name=name, filter=one) for name, one in found.items()])


@router.get("/galleries/{name}", responses=documented(404, 422, 503))
def named_gallery(name: str, retriever: Service) -> PartBody:
    """A named gallery, and what is in it."""
    return _part(name, retriever.named.document(name), retriever)


@router.put(
    "/galleries/{name}",
    responses=documented(400, 403, 409, 413, 415, 422, 503)
    | {201: {"model": PartBody, "description": "It is new.", "headers": LOCATION_HEADER}},
    openapi_extra=gallery_operation(),
)
async def put_gallery(name: str, request: Request, response: Response, retriever: Changing) -> PartBody:
    """Give a filter a name, or a name another filter. Items that match are in it, now and later."""
    check_options(request)
    content_type, body = await read_body(request, retriever.settings.max_body_bytes)
    if not is_json(content_type):
        raise UnsupportedMediaType('send application/json: {"filter": {...}}')
    document = await request.app.state.parsing.run(partial(json_document, body), json=body)
    if not isinstance(document, dict) or document.keys() != {"filter"}:
        raise MalformedBody('the body must be {"filter": {...}}')

    def put() -> tuple[bool, PartBody]:
        new = retriever.named.put(name, document["filter"])
        try:
            return new, _part(name, document["filter"], retriever)
        except Overloaded as error:
            raise Overloaded(
                "the gallery has this filter now; what is in it is being read: get it later",
                retry_after=error.retry_after,
            ) from error

    new, part = await to_thread.run_sync(put, limiter=request.app.state.changes)
    if new:
        response.status_code = 201
        response.headers["Location"] = f"{request.scope['root_path']}/galleries/{name}"
    return part


@router.delete("/galleries/{name}", status_code=204, responses=documented(403, 404, 422, 503))
def delete_gallery(name: str, retriever: Changing) -> None:
    """Take a name away. The items stay."""
    retriever.named.delete(name)


def _part(name: str, document: dict[str, Any], retriever: Retriever) -> PartBody:
    snapshot = retriever.snapshot(kept_filter(document), retriever.settings.max_filter_seconds)
    return PartBody(
        name=name, filter=document, version=snapshot.version, size=len(snapshot), labels=labels_of(snapshot)
    )
