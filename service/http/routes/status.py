"""Health and metrics, for orchestrators and Prometheus."""

from anyio import to_thread
from fastapi import APIRouter, Request, Response
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
async def readyz(request: Request) -> Health:
    """The model and a search work: both are run."""
    if request.app.state.draining.begun:
        raise request.app.state.draining.refusal()
    try:
        return Health(status="ok", checks=await request.app.state.readiness.get())
    except (Problem, RuntimeError, OSError) as error:
        raise NotReady(f"the service cannot answer queries: {error}", retry_after=5) from error


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, retriever: Service) -> Response:
    """Prometheus metrics; docs/operations.md lists them."""
    await request.app.state.gallery.refresh()  # what its newest version is; not more than a moment
    retriever.metrics.queued.set(retriever.smoothed.engine.waiting)
    for lane, seconds in retriever.backlog.seconds().items():
        retriever.metrics.backlog.labels(lane).set(seconds)
    text = await to_thread.run_sync(retriever.metrics.render, limiter=request.app.state.metrics)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
