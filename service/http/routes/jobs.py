"""Bulk changes as jobs."""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from service.errors import BodyTooLarge, GalleryFailure, MalformedBody
from service.gallery.job_records import Job
from service.http.body import check_options
from service.http.changing import Changing
from service.http.dependencies import Service
from service.http.forms import BINARY
from service.http.openapi import LOCATION_HEADER
from service.http.problems import documented
from service.http.schemas import JobsBody

router = APIRouter()

# Bytes of an archive that are held before they are written.
PIECE = 2**20
_BODY = {
    "requestBody": {
        "description": "A zip, tar or tar.gz file: a folder for each label, or a table of items.",
        "required": False,
        "content": {
            media: {"schema": BINARY}
            for media in (
                "application/zip",
                "application/x-tar",
                "application/gzip",
                "application/octet-stream",
            )
        },
    }
}


@router.post(
    "/gallery/jobs",
    status_code=202,
    responses=documented(400, 403, 408, 413, 422, 503) | {202: {"headers": LOCATION_HEADER}},
    openapi_extra=_BODY,
)
async def start_job(
    request: Request,
    response: Response,
    retriever: Changing,
    folder: Annotated[
        str | None, Query(description="A folder of the server to add, in place of an archive.")
    ] = None,
    prefix: Annotated[str, Query(description="Put this before every id.")] = "",
    replace: Annotated[
        bool, Query(description="Replace items that are there with another image, label or metadata.")
    ] = False,
) -> Job:
    """Add all that an archive holds, or a folder of the server; the work goes on after the answer."""
    check_options(request, "folder", "prefix", "replace")
    jobs = retriever.jobs
    await to_thread.run_sync(lambda: jobs.check(folder=folder, prefix=prefix))
    async with _in_threads(jobs.receiving()) as (id_, place):
        size = await _received(request, str(place), retriever.settings.max_archive_bytes)
        if (size > 0) == (folder is not None):
            raise MalformedBody("send an archive (zip, tar or tar.gz) as the body, or name a `folder`")
        job = await to_thread.run_sync(
            lambda: jobs.submit(id_, folder=folder, prefix=prefix, replace=replace)
        )
    response.headers["Location"] = f"{request.scope['root_path']}/gallery/jobs/{job.id}"
    return job


@router.get("/gallery/jobs")
def jobs(retriever: Service) -> JobsBody:
    """All jobs, the newest first; of ended ones the last are kept. `refusals` are left out."""
    return JobsBody(jobs=retriever.jobs.records.all())


@router.get("/gallery/jobs/{job_id}", responses=documented(404))
def job(job_id: str, retriever: Service) -> Job:
    """How far a job is; when it has ended, what became of every entry."""
    return retriever.jobs.records.get(job_id)


@router.delete("/gallery/jobs/{job_id}", responses=documented(403, 404, 422))
def delete_job(job_id: str, request: Request, retriever: Changing) -> Job:
    """Cancel a job, or forget one that has ended. What it stored stays."""
    check_options(request)
    return retriever.jobs.records.delete(job_id)


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[tuple[str, Path]]) -> AsyncIterator[tuple[str, Path]]:
    """The same, entered and left on a thread: it reads and deletes files."""
    with ExitStack() as left:
        entered = await to_thread.run_sync(left.enter_context, manager)
        try:
            yield entered
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(left.close)


async def _received(request: Request, place: str, most: int) -> int:
    """Write the body to the file `place` as it comes, and return its size in bytes."""
    size, piece = 0, bytearray()
    try:
        with open(place, "xb") as file:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise BodyTooLarge(f"the archive has more than {most} bytes: send it in parts")
                piece += part
                if len(piece) >= PIECE:
                    await to_thread.run_sync(file.write, bytes(piece))
                    piece.clear()
            file.write(piece)
            file.flush()
            await to_thread.run_sync(os.fsync, file.fileno())
    except ClientDisconnect as error:
        raise MalformedBody("the body was cut off") from error
    except OSError as error:
        raise GalleryFailure("the server has no room for the archive") from error
    return size
