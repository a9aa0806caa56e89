"""Where a person who opens the service in a browser arrives."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

router = APIRouter()


@router.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """To the page on which every route can be tried."""
    return RedirectResponse("docs")
