"""What Prometheus reads."""

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.errors import Problem
from service.retriever import Retriever

router = APIRouter()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus metrics; docs/observability.md lists them."""
    state = request.app.state
    retriever: Retriever = state.retriever
    await state.gallery.refresh()  # what its newest version is; not more than a moment
    try:
        await state.readiness.get()
        retriever.metrics.ready.set(not state.draining.begun)
    except (Problem, RuntimeError, OSError):
        retriever.metrics.ready.set(0)

    def text() -> bytes:
        retriever.measure()
        return retriever.metrics.render()

    content = await to_thread.run_sync(text, limiter=state.metrics)
    return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")
