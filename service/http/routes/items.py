"""Gallery items, and their images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Response

from index import ItemDamaged, ItemMissing, StoreFailure
from service.errors import GalleryFailure, ItemNotFound
from service.http.dependencies import Service
from service.http.forms import BINARY
from service.http.problems import documented
from service.http.schemas import ItemBody
from service.images import MEDIA_TYPES

log = logging.getLogger("retrievalguard")

router = APIRouter()


@contextmanager
def _known_item() -> Iterator[None]:
    """Tell a client that asks for an item that is not there."""
    try:
        yield
    except ItemMissing as error:
        raise ItemNotFound(f"{error}: see GET /gallery and `retrievalguard gallery list`") from error
    except ItemDamaged as error:
        raise GalleryFailure(str(error)) from error
    except StoreFailure as error:
        log.error("an item was not read: %s", error)
        raise GalleryFailure from error


@router.get(
    "/gallery/images/{item_id:path}",
    response_class=Response,
    responses=documented(404, 503)
    | {200: {"content": {media: {"schema": BINARY} for media in MEDIA_TYPES.values()}}},
)
def item_image(item_id: str, retriever: Service) -> Response:
    """The image of an item, byte for byte as it was added."""
    with _known_item():
        content, media_type = retriever.gallery.store.image(item_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/gallery/items/{item_id:path}", responses=documented(404, 503))
def item(item_id: str, retriever: Service) -> ItemBody:
    """Label and metadata of an item."""
    with _known_item():
        found = retriever.gallery.store.item(item_id)
    return ItemBody(id=found.id, label=found.label, metadata=found.metadata)
