"""The model that is served, and what it sees."""

from anyio import to_thread
from fastapi import APIRouter, Request

from service.http import forms
from service.http.body import read_file
from service.http.dependencies import Service
from service.http.problems import documented
from service.http.schemas import Defaults, ForwardPassBody, GalleryVectorsBody, InputBody, ModelBody
from service.http.tenants import galleries_of
from service.images import packed
from service.retrieval.answer import radius_unit
from service.retrieval.options import RetrieveOptions

router = APIRouter()


@router.get("/model")
def model(request: Request, retriever: Service) -> ModelBody:
    """The model that is served, and what a query without options gets."""
    manifest, settings, options = retriever.model.manifest, retriever.settings, RetrieveOptions()
    calibration, shipped = retriever.smoothed.calibration, retriever.vectors.shipped
    return ModelBody(
        name=manifest.name,
        digest=retriever.smoothed.digest,
        input_shape=manifest.input_shape,
        dimension=retriever.model.dimension,
        sigma=retriever.sigma,
        radius_unit=radius_unit(manifest.input_shape),
        preprocessing=manifest.preprocessing,
        forward_pass=ForwardPassBody(
            variant=calibration.variant,
            batch=calibration.batch * retriever.smoothed.chunk,
            reason=calibration.reason,
            measured=list(calibration.measured),
        ),
        gallery_vectors=GalleryVectorsBody(
            samples=retriever.vectors.samples,
            shipped=len(shipped) if shipped else 0,
            shipped_samples=shipped.samples if shipped else 0,
        ),
        defaults=Defaults(
            alpha=settings.alpha,
            samples=settings.samples,
            min_gain=settings.min_gain,
            guarantee=options.guarantee,
            rule=options.rule,
            method=options.method,
        ),
        attack_seconds=settings.attack_seconds,
        trained_on=manifest.trained_on,
        recall=retriever.recall,
        # They count the images of everybody.
        warnings=[]
        if galleries_of(request) is not None
        else [f"{purpose}: {told}" for purpose, of in retriever.losses.items() if (told := of.statement)],
    )


@router.post(
    "/model/input",
    responses=documented(400, 413, 415, 422, 503),
    openapi_extra={"requestBody": forms.file()},
)
async def model_input(request: Request, retriever: Service) -> InputBody:
    """What the model sees of an image file: its exact input, and what is lost on the way to it."""
    content = await read_file(request, retriever.settings.max_body_bytes)
    tensor, losses = await to_thread.run_sync(retriever.seen, content, limiter=request.app.state.queries)
    return InputBody(shape=retriever.model.input_shape, pixels=packed(tensor), losses=losses)
