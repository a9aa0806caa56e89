"""Named galleries: names for filters, of which a query may give one."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from service.errors import MalformedBody, UnsupportedMediaType
from service.http.body import check_options, is_json, json_document, read_body
from service.http.changing import Changing
from service.http.dependencies import Service
from service.http.forms import gallery_operation
from service.http.openapi import LOCATION_HEADER
from service.http.problems import documented
from service.http.routes.gallery import labels_of
from service.http.schemas import GalleriesBody, NamedGalleryBody, PartBody

router = APIRouter()


@router.get("/galleries", responses=documented(503))
def galleries(retriever: Service) -> GalleriesBody:
    """All named galleries, `default` first, then by name."""
    found = retriever.named.all()
    return GalleriesBody(galleries=[NamedGalleryBody(name=name, filter=one) for name, one in found.items()])


@router.get("/galleries/{name}", responses=documented(404, 503))
def named_gallery(name: str, retriever: Service) -> PartBody:
    """A named gallery, and what is in it."""
    document = retriever.named.document(name)
    snapshot = retriever.snapshot(retriever.named.within(name, None))
    return PartBody(
        name=name, filter=document, version=snapshot.version, size=len(snapshot), labels=labels_of(snapshot)
    )


@router.put(
    "/galleries/{name}",
    responses=documented(400, 403, 409, 413, 415, 422, 503)
    | {201: {"model": NamedGalleryBody, "description": "It is new.", "headers": LOCATION_HEADER}},
    openapi_extra=gallery_operation(),
)
async def put_gallery(
    name: str, request: Request, response: Response, retriever: Changing
) -> NamedGalleryBody:
    """Give a filter a name, or a name another filter. Items that match are in it, now and later."""
    check_options(request)
    content_type, body = await read_body(request, retriever.settings.max_body_bytes)
    if not is_json(content_type):
        raise UnsupportedMediaType('send application/json: {"filter": {...}}')
    document = await request.app.state.parsing.run(partial(json_document, body), json=body)
    if not isinstance(document, dict) or document.keys() != {"filter"}:
        raise MalformedBody('the body must be {"filter": {...}}')
    wanted = document["filter"]
    put = partial(retriever.named.put, name, wanted)
    if await to_thread.run_sync(put, limiter=request.app.state.changes):
        response.status_code = 201
        response.headers["Location"] = f"{request.scope['root_path']}/galleries/{name}"
    return NamedGalleryBody(name=name, filter=wanted)


@router.delete("/galleries/{name}", status_code=204, responses=documented(403, 404, 422, 503))
def delete_gallery(name: str, retriever: Changing) -> None:
    """Take a name away. The items stay."""
    retriever.named.delete(name)
