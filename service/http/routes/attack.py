"""An attack on the answer to a query."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http import forms
from service.http.access import samples_of
from service.http.body import read_query
from service.http.dependencies import Service
from service.http.observe import note
from service.http.problems import documented
from service.http.streaming import plain
from service.http.tenants import check_asked, told
from service.images import pixels_tensor
from service.retrieval.attack import AttackResponse

router = APIRouter()


@router.post(
    "/attack",
    response_model=AttackResponse,
    responses=documented(400, 403, 404, 409, 413, 415, 422, 500, 503),
    openapi_extra=forms.operation(),
)
async def attack(
    request: Request,
    retriever: Service,
    size: Annotated[
        float,
        Query(gt=0, allow_inf_nan=False, description="The l2 norm that the change of the input may have."),
    ],
) -> Response:
    """Try to have another answer to a query by a change of bounded size, as an adversary would.

    The changed input is answered as every query is.
    """
    query = await read_query(request, retriever.settings.max_body_bytes, "size")
    check_asked(request, query.options.gallery)
    stop = query.options.stop()

    def answer() -> AttackResponse:
        shape = retriever.model.input_shape
        image = pixels_tensor(query.pixels, shape) if query.image is None else query.image
        found = retriever.attack(image, size, query.options, stop=stop, reserve=samples_of(request))
        for one in (found.answer, found.moved):
            note(request, one)
        return found.model_copy(
            update={"answer": told(request, found.answer), "moved": told(request, found.moved)}
        )

    return await plain(request, stop, answer, request.app.state.queries)
