"""Where a person who opens the service in a browser arrives."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

router = APIRouter()


@router.get("/", include_in_schema=False)
def root(request: Request) -> RedirectResponse:
    """To the page on which every route can be tried."""
    return RedirectResponse(f"{request.scope['root_path']}/docs")
