"""The web page, for a person who opens the service in a browser."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

router = APIRouter()

_PAGE = Path(__file__).parents[1] / "page"
_FILES = StaticFiles(directory=_PAGE)
# Nothing from elsewhere, and nothing inline. Pictures are also `blob:`, what a person chose and the service
# has not seen yet, and `data:`, the small icons inside of Pico's style sheet.
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
# Kept, but asked about each time: after an upgrade nobody sees half of the old page.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The page; its files and routes are named relative to it, so that it works below a proxy's path."""
    return FileResponse(_PAGE / "index.html", headers=_HEADERS)


@router.get("/page/{path:path}", include_in_schema=False)
async def page_file(path: str, request: Request) -> Response:
    """A part of the page."""
    response = await _FILES.get_response(path, request.scope)
    response.headers.update(_HEADERS)
    return response
