"""The answer as clients see it."""

import math

from certify import Certificate, round_down
from index import Snapshot
from models import SmoothedModel
from service.contest import Outcome
from service.looks import Look
from service.options import RetrieveOptions
from service.schemas import (
    CacheResult,
    CertificateBody,
    GalleryRef,
    ModelRef,
    Neighbor,
    RetrieveResponse,
    RoundBody,
    RoundNeighbor,
    Timing,
)


def radius_unit(input_shape: tuple[int, int, int]) -> str:
    """In what radii are measured."""
    return f"l2 over [0,1] pixels of the {'x'.join(map(str, input_shape))} model input"


def respond(
    outcome: Outcome,
    options: RetrieveOptions,
    snapshot: Snapshot,
    smoothed: SmoothedModel,
    cache: CacheResult,
    seconds: dict[str, float],
) -> RetrieveResponse:
    """The response to a query; `seconds` are the fields of `Timing`."""
    found = outcome.neighbors
    votes = outcome.votes or (None,) * len(found.rows)
    ranked = [
        Neighbor(
            id=item.id,
            label=item.label,
            distance=round(float(distance), 6),
            votes=count,
            metadata=item.metadata,
        )
        for item, distance, count in zip(
            (snapshot.items[row] for row in found.rows), found.distances, votes, strict=True
        )
    ]
    return RetrieveResponse(
        neighbor=ranked[0],
        neighbors=ranked[1:],
        certificate=_certificate(outcome.certificate, options, smoothed.model.input_shape),
        model=ModelRef(name=smoothed.model.manifest.name, digest=smoothed.digest),
        gallery=GalleryRef(version=snapshot.version, size=len(snapshot)),
        cache=cache,
        timing_ms=timing(seconds),
    )


def repeated(
    found: RetrieveResponse, version: int, *, decoding: float, waiting: float, total: float
) -> RetrieveResponse:
    """A finished answer again, for a gallery of the same content that may have another `version`.

    All that this query did itself is `decoding`; `waiting` is for another one that was at work on the same.
    """
    gallery = found.gallery.model_copy(update={"version": version})
    nothing = dict.fromkeys(("sample", "search", "certify"), 0.0)
    spent = timing(nothing | {"decode": decoding, "queue": waiting, "total": total})
    return found.model_copy(update={"cache": "hit", "gallery": gallery, "timing_ms": spent})


def round_body(look: Look, snapshot: Snapshot, input_shape: tuple[int, int, int]) -> RoundBody:
    """What is sent of a look before the last."""
    item = snapshot.items[look.outcome.neighbors.rows[0]]
    radius = min(look.outcome.certificate.radius, _diameter(input_shape))
    return RoundBody(
        samples=look.samples, radius=radius, neighbor=RoundNeighbor(id=item.id, label=item.label)
    )


def _diameter(input_shape: tuple[int, int, int]) -> float:
    """Of the input space, in l2: no perturbation is larger. What a radius without rivals is sent as."""
    return round_down(math.sqrt(math.prod(input_shape)))


def timing(seconds: dict[str, float]) -> Timing:
    """Milliseconds, to a hundredth."""
    return Timing(**{name: round(1000 * spent, 2) for name, spent in seconds.items()})


def _certificate(
    certificate: Certificate, options: RetrieveOptions, input_shape: tuple[int, int, int]
) -> CertificateBody:
    diameter = _diameter(input_shape)
    return CertificateBody(
        status="certified" if certificate.radius > 0 else "abstained",
        guarantee=options.guarantee,
        radius=min(certificate.radius, diameter),
        label_radius=min(certificate.label_radius, diameter),
        item_radius=min(certificate.item_radius, diameter),
        radius_unit=radius_unit(input_shape),
        alpha=certificate.terms.alpha,
        sigma=certificate.terms.sigma,
        samples=certificate.samples,
        rule=options.rule,
        method=options.method,
        reason=certificate.reason,
    )
