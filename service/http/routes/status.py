"""Health and metrics, for orchestrators and Prometheus."""

import sqlite3

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from service.errors import NotReady, Problem
from service.http.dependencies import Service
from service.http.problems import documented
from service.http.schemas import Health

router = APIRouter()


@router.get("/livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses=documented(503))
def readyz(retriever: Service) -> Health:
    """The model and a search work: both are run."""
    try:
        return Health(status="ok", checks=retriever.check())
    except (Problem, sqlite3.Error, RuntimeError, OSError) as error:
        raise NotReady(f"the service cannot answer queries: {error}", retry_after=5) from error


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(retriever: Service) -> Response:
    """Prometheus metrics; docs/operations.md lists them."""
    retriever.snapshot()
    retriever.metrics.queued.set(retriever.smoothed.engine.waiting)
    return Response(retriever.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
