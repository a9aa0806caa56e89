"""The images of gallery items."""

from fastapi import APIRouter, Response

from service.http.dependencies import Service
from service.http.forms import BINARY
from service.http.problems import documented
from service.images import MEDIA_TYPES

router = APIRouter()


@router.get(
    "/gallery/images/{item_id:path}",
    response_class=Response,
    responses=documented(404, 503)
    | {200: {"content": {media: {"schema": BINARY} for media in MEDIA_TYPES.values()}}},
)
def item_image(item_id: str, retriever: Service) -> Response:
    """The image of an item, byte for byte as it was added."""
    content, media_type = retriever.items.image(item_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})
