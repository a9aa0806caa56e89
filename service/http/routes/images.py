"""The images of gallery items."""

from typing import Any

from fastapi import APIRouter, Response

from service.http.dependencies import Service
from service.http.forms import BINARY
from service.http.problems import documented
from service.images import MEDIA_TYPES

router = APIRouter()


IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {"schema": BINARY} for media in MEDIA_TYPES.values()}}
}


@router.get("/gallery/images/{item_id:path}", response_class=Response, responses=IMAGE | documented(404, 503))
def item_image(item_id: str, retriever: Service) -> Response:
    """The image of an item, byte for byte as it was added."""
    return image_response(*retriever.items.image(item_id))


def image_response(content: bytes, media_type: str) -> Response:
    """An image file that a client sent once: nobody is to guess what else it might be."""
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})
