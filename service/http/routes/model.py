"""The model that is served."""

from fastapi import APIRouter

from service.http.dependencies import Service
from service.http.schemas import Defaults, ForwardPassBody, GalleryVectorsBody, ModelBody
from service.retrieval.answer import radius_unit
from service.retrieval.options import RetrieveOptions

router = APIRouter()


@router.get("/model")
def model(retriever: Service) -> ModelBody:
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
        trained_on=manifest.trained_on,
        warnings=[f"{purpose}: {told}" for purpose, of in retriever.losses.items() if (told := of.statement)],
    )
