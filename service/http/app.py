"""The FastAPI application around a retriever: composition only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from service.http import openapi, problems
from service.http.access import Access, Guarded
from service.http.draining import Draining
from service.http.head import Head
from service.http.hosts import Hosts, allowed_hosts
from service.http.known import Known
from service.http.limits import Limits
from service.http.metrics_port import MetricsPort
from service.http.observe import Observe
from service.http.probes import Latest
from service.http.reading import Bodies, Parsing
from service.http.root import RootPath
from service.http.routes import (
    attack,
    batch,
    galleries,
    gallery,
    images,
    items,
    jobs,
    metrics,
    model,
    page,
    retrieve,
    snapshots,
    status,
)
from service.http.version import VersionPrefix
from service.keys import Keys
from service.retriever import Retriever
from service.traces import Traces
from service.traffic.rates import Rates


def create_app(retriever: Retriever) -> FastAPI:
    """The application; it owns `retriever` and closes it at shutdown. `/docs` works without a network."""
    settings = retriever.settings
    released = version("retrievalguard")
    traces = None if settings.traces_url is None else Traces(settings.traces_url, released)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await app.state.readiness.refresh()
        retriever.jobs.start()
        yield
        retriever.close()
        if traces is not None:
            traces.close()

    app: FastAPI = FastAPIOffline(
        title="RetrievalGuard",
        version=released,
        summary="The nearest neighbour of an image, and the radius within which it cannot change.",
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
    )
    state = app.state
    state.retriever = retriever
    # One thread more than may be admitted: it is the one that is told to come back later. Other routes have
    # their own threads, so that health checks never wait for queries.
    state.queries = CapacityLimiter(settings.max_queries + 1)
    # Queries of batches wait here, and are not refused; all batches together leave half of the places.
    state.batches = CapacityLimiter(max(1, settings.max_queries // 2))
    state.changes = CapacityLimiter(settings.max_changes + 1)
    state.parsing = Parsing(settings.parsing_threads, retriever.model.input_shape, settings.max_filter_values)
    state.draining = Draining(settings.shutdown_grace_seconds)
    state.readiness, state.gallery = Latest(retriever.check), Latest(retriever.snapshot)
    state.metrics = CapacityLimiter(1)
    retriever.metrics.about.info(
        {
            "version": released,
            "model": retriever.model.manifest.name,
            "digest": retriever.smoothed.digest,
            "variant": retriever.smoothed.calibration.variant,
        }
    )
    for queries in (retrieve, batch, attack):
        app.include_router(queries.router)
    for resource in (gallery, galleries, items, images, jobs, snapshots, model, status, page):
        app.include_router(resource.router)
    if settings.metrics_port is None:
        app.include_router(metrics.router)
    # The last one sees a request first.
    app.add_middleware(Known, retriever=retriever, route=retrieve.ROUTE)
    bodies = Bodies(most=settings.max_bodies_bytes, seconds=settings.body_timeout_seconds)
    app.add_middleware(Limits, most=settings.max_connections, bodies=bodies, draining=state.draining)
    state.keys = Keys(settings.keys)
    access = Access(state.keys, Rates(retriever.shared_count))
    app.add_middleware(Guarded, access=access)
    app.add_middleware(Hosts, allowed=allowed_hosts(settings))
    app.add_middleware(Head)
    app.add_middleware(Observe, metrics=retriever.metrics, traces=traces)
    app.add_middleware(VersionPrefix)
    if settings.root_path:
        app.add_middleware(RootPath, root=settings.root_path)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=[
                "ETag",
                "Location",
                "X-Request-Id",
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
            ],
        )
    if settings.metrics_port is not None:
        app.add_middleware(MetricsPort, port=settings.metrics_port)
    problems.install(app)
    openapi.install(app)
    return app
