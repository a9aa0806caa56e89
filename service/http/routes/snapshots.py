"""Snapshots of the gallery."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from service.gallery.snapshots import SnapshotFile
from service.http.body import check_options
from service.http.changing import Changing
from service.http.dependencies import Service
from service.http.forms import BINARY
from service.http.openapi import LOCATION_HEADER
from service.http.problems import documented
from service.http.schemas import MadeSnapshot, RestoredBody, SnapshotBody, SnapshotsBody

router = APIRouter()

_MEDIA_TYPE = "application/vnd.sqlite3"


@router.get("/gallery/snapshots", responses=documented(503))
def snapshots(retriever: Service) -> SnapshotsBody:
    """All snapshots, by name."""
    return SnapshotsBody(snapshots=[_body(one) for one in retriever.snapshots.all()])


@router.post(
    "/gallery/snapshots",
    status_code=201,
    responses=documented(403, 409, 422, 503) | {201: {"headers": LOCATION_HEADER}},
)
async def make_snapshot(
    request: Request,
    response: Response,
    retriever: Changing,
    name: Annotated[str | None, Query(description="What to call it; default: the time.")] = None,
) -> MadeSnapshot:
    """Write the gallery as it is now to a new snapshot, while queries and changes go on."""
    check_options(request, "name")
    made, held = await to_thread.run_sync(retriever.snapshots.create, name, limiter=request.app.state.changes)
    response.headers["Location"] = f"{request.scope['root_path']}/gallery/snapshots/{made.name}"
    return MadeSnapshot(
        **_body(made).model_dump(),
        version=held.version,
        items=held.items,
        damaged=list(held.damaged),
        damaged_vectors=held.damaged_vectors,
    )


@router.get(
    "/gallery/snapshots/{name}",
    response_class=FileResponse,
    responses=documented(404, 503) | {200: {"content": {_MEDIA_TYPE: {"schema": BINARY}}}},
)
def snapshot(name: str, retriever: Service) -> FileResponse:
    """The snapshot as a file, for `retrievalguard gallery import`."""
    found = retriever.snapshots.get(name)
    return FileResponse(found.path, media_type=_MEDIA_TYPE, filename=found.path.name)


@router.delete("/gallery/snapshots/{name}", status_code=204, responses=documented(403, 404, 422, 503))
def delete_snapshot(name: str, request: Request, retriever: Changing) -> None:
    """Delete a snapshot."""
    check_options(request)
    retriever.snapshots.delete(name)


@router.post("/gallery/snapshots/{name}/restore", responses=documented(403, 404, 409, 422, 503))
async def restore_snapshot(
    name: str,
    request: Request,
    retriever: Changing,
    embed: Annotated[
        bool, Query(description="Embed items that have no vectors by the model that is served.")
    ] = False,
) -> RestoredBody:
    """Put a snapshot in the place of the gallery, which answers until the new one is whole and checked."""
    check_options(request, "embed")
    version, items = await to_thread.run_sync(
        lambda: retriever.snapshots.restore(name, embed=embed), limiter=request.app.state.changes
    )
    return RestoredBody(version=version, items=items)


def _body(found: SnapshotFile) -> SnapshotBody:
    return SnapshotBody(name=found.name, created=found.created, bytes=found.size, replica=found.replica)
