"""Many queries at once."""

import asyncio
import logging

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from models import Stop
from service.errors import Abandoned, Problem
from service.http.access import count_queries, samples_of
from service.http.batches import read_queries
from service.http.body import QueryBody
from service.http.dependencies import Service
from service.http.forms import batch_operation
from service.http.observe import note
from service.http.problems import documented, problem_body, unexpected_body
from service.http.schemas import AnswerResult, AnswersBody
from service.http.streaming import LEFT, cancelled_when_left
from service.http.tenants import check_asked, told
from service.images import pixels_tensor

log = logging.getLogger("retrievalguard")

router = APIRouter()


@router.post(
    "/retrieve/batch",
    response_model=AnswersBody,
    responses=documented(400, 413, 415, 422, 500, 503),
    openapi_extra=batch_operation(),
)
async def retrieve_batch(request: Request, retriever: Service) -> Response:
    """Many queries at once, answered in their order: in each place an answer, or the problem of that query.

    Options in the URL are those of all.
    """
    queries = await read_queries(request, retriever.settings)
    await count_queries(request, len(queries))
    stops = [Stop() if isinstance(query, Problem) else query.options.stop() for query in queries]
    reserve = samples_of(request)

    def answer(query: QueryBody, stop: Stop) -> AnswerResult:
        try:
            check_asked(request, query.options.gallery)
            shape = retriever.model.input_shape
            image = pixels_tensor(query.pixels, shape) if query.image is None else query.image
            found = retriever.retrieve(image, query.options, stop=stop, reserve=reserve, waits=True)
        except Problem as problem:
            return AnswerResult(problem=problem_body(problem))
        except Abandoned:
            raise
        except Exception:
            log.exception("a query of a batch failed")
            retriever.metrics.failures.inc()
            return AnswerResult(problem=unexpected_body())
        return AnswerResult(answer=told(request, found))

    async def result(query: QueryBody | Problem, stop: Stop) -> AnswerResult:
        if isinstance(query, Problem):
            return AnswerResult(problem=problem_body(query))
        return await to_thread.run_sync(
            answer, query, stop, limiter=request.app.state.batches, abandon_on_cancel=True
        )

    async with cancelled_when_left(request, *stops):
        try:
            results = await asyncio.gather(*map(result, queries, stops))
        except Abandoned:
            return Response(status_code=LEFT)
    for found in results:
        if found.answer is not None:
            note(request, found.answer)
    return Response(AnswersBody(results=list(results)).model_dump_json(), media_type="application/json")
