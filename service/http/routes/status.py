"""Health, for orchestrators."""

from fastapi import APIRouter, Request

from service.errors import NotReady, Problem
from service.http.problems import documented
from service.http.schemas import Health

router = APIRouter()


@router.get("/livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses=documented(503))
async def readyz(request: Request) -> Health:
    """The model and a search work: both are run."""
    if request.app.state.draining.begun:
        raise request.app.state.draining.refusal()
    try:
        return Health(status="ok", checks=await request.app.state.readiness.get())
    except (Problem, RuntimeError, OSError) as error:
        raise NotReady(f"the service cannot answer queries: {error}", retry_after=5) from error
