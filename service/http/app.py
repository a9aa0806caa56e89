"""The FastAPI application around a retriever: composition only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service.http import openapi, problems
from service.http.observe import Observe
from service.http.routes import gallery, items, model, page, retrieve, status
from service.retriever import Retriever


def create_app(retriever: Retriever) -> FastAPI:
    """The application; it owns `retriever` and closes it at shutdown. `/docs` works without a network."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        retriever.close()

    app: FastAPI = FastAPIOffline(
        title="RetrievalGuard",
        version=version("retrievalguard"),
        summary="The nearest neighbour of an image, and the radius within which it cannot change.",
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.retriever = retriever
    # One thread more than may be admitted: it is the one that is told to come back later. Other routes have
    # their own threads, so that health checks never wait for queries.
    app.state.queries = CapacityLimiter(retriever.settings.max_queries + 1)
    for routes in (retrieve, gallery, items, model, status, page):
        app.include_router(routes.router)
    app.add_middleware(Observe, metrics=retriever.metrics)
    problems.install(app)
    openapi.install(app)
    return app
