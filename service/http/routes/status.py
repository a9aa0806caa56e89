"""Health, for orchestrators."""

from fastapi import APIRouter, Request

from service.errors import NotReady, Problem
from service.http.problems import documented
from service.http.schemas import Health
from service.keys import KeysUnusable

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
        checks = await request.app.state.readiness.get()
        # This is for everybody: where keys are used, how many items there are is not.
        told = dict.fromkeys(checks, "ok") if request.app.state.keys.required else checks
        return Health(status="ok", checks=told)
    except (Problem, KeysUnusable, RuntimeError, OSError) as error:
        raise NotReady(f"the service cannot answer queries: {error}", retry_after=5) from error
