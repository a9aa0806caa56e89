"""Named galleries: names for filters, of which a query may give one."""

from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from index import Filter
from service.errors import MalformedBody, UnsupportedMediaType
from service.gallery.named import kept_filter
from service.http.body import check_options, is_json, json_document, read_body
from service.http.changing import Changing, tag_header
from service.http.dependencies import Service
from service.http.forms import gallery_operation
from service.http.openapi import LOCATION_HEADER
from service.http.problems import documented
from service.http.routes.gallery import labels_of
from service.http.routes.images import IMAGE, image_response
from service.http.routes.items import TAGGED, PageWanted, item_body, page_body
from service.http.schemas import GalleriesBody, ItemBody, ItemsBody, NamedGalleryBody, PartBody
from service.http.tenants import galleries_of
from service.retriever import Retriever

router = APIRouter()


@router.get("/galleries", responses=documented(503))
def galleries(request: Request, retriever: Service) -> GalleriesBody:
    """All named galleries, `default` first, then by name; to a key of some of them, these alone."""
    found, own = retriever.named.all(), galleries_of(request)
    return GalleriesBody(
        galleries=[
            NamedGalleryBody(name=name, filter=one)
            for name, one in found.items()
            if own is None or name in own
        ]
    )


@router.get("/galleries/{name}", responses=documented(404, 422, 503))
def named_gallery(name: str, retriever: Service) -> PartBody:
    """A named gallery, and what is in it."""
    document = retriever.named.document(name)
    return _part(name, document, kept_filter(document), retriever)


@router.get("/galleries/{name}/items", responses=documented(404, 422, 503))
def gallery_items(name: str, retriever: Service, page: PageWanted) -> ItemsBody:
    """A page of the items of a named gallery, in the order of addition."""
    return page_body(*retriever.parts.page(name, *page))


@router.get("/galleries/{name}/items/{item_id:path}", responses=TAGGED | documented(404, 422, 503))
def gallery_item(name: str, item_id: str, retriever: Service, response: Response) -> ItemBody:
    """Label and metadata of an item of a named gallery, with its `ETag`."""
    found = retriever.parts.item(name, item_id)
    response.headers.update(tag_header(found.tag))
    return item_body(found.item)


@router.get(
    "/galleries/{name}/images/{item_id:path}",
    response_class=Response,
    responses=IMAGE | documented(404, 422, 503),
)
def gallery_item_image(name: str, item_id: str, retriever: Service) -> Response:
    """The image of an item of a named gallery, byte for byte as it was added."""
    return image_response(*retriever.parts.image(name, item_id))


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
        wanted = retriever.named.checked(name, document["filter"])
        # First, as what is in it may be too much to read: then nothing is stored.
        part = _part(name, document["filter"], wanted, retriever)
        return retriever.named.put(name, document["filter"]), part

    new, part = await to_thread.run_sync(put, limiter=request.app.state.changes)
    if new:
        response.status_code = 201
        response.headers["Location"] = f"{request.scope['root_path']}/galleries/{name}"
    return part


@router.delete("/galleries/{name}", status_code=204, responses=documented(403, 404, 422, 503))
def delete_gallery(name: str, request: Request, retriever: Changing) -> None:
    """Take a name away. The items stay."""
    check_options(request)
    retriever.named.delete(name)


def _part(name: str, document: dict[str, Any], wanted: Filter, retriever: Retriever) -> PartBody:
    snapshot = retriever.snapshot(wanted, retriever.settings.max_filter_seconds)
    return PartBody(
        name=name, filter=document, version=snapshot.version, size=len(snapshot), labels=labels_of(snapshot)
    )
