"""The answer as clients see it: its shapes, and how they are filled."""

import math
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr

from certify import Certificate, Guarantee, Method, Rule, round_down
from index import DEFAULT_GALLERY, Neighbors, Snapshot
from models import SmoothedModel
from service.file_radius import FilePixels, file_claim
from service.retrieval.contest import Outcome
from service.retrieval.looks import Look
from service.retrieval.options import RetrieveOptions

# Whether none, some or all of the samples of an answer were drawn before.
CacheResult = Literal["miss", "resumed", "hit"]

# The smallest change that gives another answer leads to one of so many in nearly all answers.
EXPLAINED_RIVALS = 3


class Neighbor(BaseModel):
    """A gallery item, and its distance from the mean embedding of the query.

    `votes`, under rule `vote`: how many of the noisy copies have it as their nearest neighbour.
    """

    id: str
    label: str
    distance: float
    votes: int | None = None
    metadata: dict[str, Any]


class WithinBody(BaseModel):
    """What else holds of the `k` nearest: below `item_radius` the item stays one of them.

    Below `label_radius` some item of its label does.
    """

    k: int
    item_radius: float
    label_radius: float


class FileStepsBody(BaseModel):
    """The claim in 8-bit steps, each about another kind of change of the file's pixels.

    `one_pixel`: no change of one pixel, of each of its values by less than so many steps, changes the answer.
    255 is any change. `all_pixels`: no change of all pixels at once, of each value by less than so many.
    Nothing is said in steps of pictures with transparency, nor of colours of 16 bits.
    """

    one_pixel: float
    all_pixels: float


class CertificateBody(BaseModel):
    """The claim: no perturbation of l2 norm below `radius` changes the answer, except with probability alpha.

    `radius` is that of `guarantee`; all radii hold together. `within` has two more if that was asked for,
    else it is null. `reason` says why an answer abstained, or claims less than the target radius; else it is
    null. `file_radius` is what `radius` says of the pixels of the file that was sent; where it says nothing,
    it is null like `file_radius_unit` and `file_steps`, and `file_reason` says why.
    """

    status: Literal["certified", "abstained"]
    guarantee: Guarantee
    radius: float
    label_radius: float
    item_radius: float
    within: WithinBody | None
    radius_unit: str
    file_radius: float | None
    file_radius_unit: str | None
    file_steps: FileStepsBody | None
    file_reason: str | None
    alpha: float
    sigma: float
    samples: int
    rule: Rule
    method: Method
    reason: str | None


class ModelRef(BaseModel):
    """Which function h was certified."""

    name: str
    digest: str


class GalleryRef(BaseModel):
    """Which gallery answered: `size` items are in all, and `matching` in what was asked, null for all.

    `name`: that of a named gallery, or `default`.
    """

    name: str
    version: int
    size: int
    matching: int | None


class Timing(BaseModel):
    """Where the time of an answer went, in milliseconds."""

    decode: float
    queue: float
    sample: float
    search: float
    certify: float
    total: float


class ExplanationBody(BaseModel):
    """What limits the radius. Nothing in it is a claim.

    `rival`: of the items that the guarantee keeps behind the one that is likely to be the first to win when
    the query is changed, null if there is none. That is an estimate, from how far behind it is and how much
    that varies with the noise; mostly its bound is the one that limits the radius. `rivals`: it and the
    likeliest after it, for guarantee `label` the likeliest of each label.
    `expected_radius`: what about four times the samples may bring; null where the samples were planned for a
    target, or for one number. `alpha_spent`: by which part of the certificate.
    """

    rival: Neighbor | None
    rivals: list[Neighbor]
    expected_radius: float | None
    alpha_spent: dict[str, float]


class RetrieveResponse(BaseModel):
    """The nearest neighbour, its certificate, and what they were computed with."""

    neighbor: Neighbor
    neighbors: list[Neighbor] = Field(description="Ranks 2 to top_k, nearest first.")
    certificate: CertificateBody
    model: ModelRef
    gallery: GalleryRef
    cache: CacheResult
    timing_ms: Timing
    explanation: ExplanationBody | None = Field(description="With `explain`, else null.")
    _complete: bool = PrivateAttr(True)

    @property
    def complete(self) -> bool:
        """Whether all of the gallery was looked at: an answer that may be kept."""
        return self._complete


class RoundNeighbor(BaseModel):
    """Who is nearest so far."""

    id: str
    label: str


class RoundBody(BaseModel):
    """An event `round` of a streamed answer: what is certified after so many samples."""

    samples: int
    radius: float
    neighbor: RoundNeighbor


def radius_unit(input_shape: tuple[int, int, int]) -> str:
    """In what radii are measured."""
    return f"l2 over [0,1] pixels of the {'x'.join(map(str, input_shape))} model input"


def respond(
    outcome: Outcome,
    rivals: Neighbors | None,
    options: RetrieveOptions,
    snapshot: Snapshot,
    smoothed: SmoothedModel,
    cache: CacheResult,
    seconds: dict[str, float],
) -> RetrieveResponse:
    """The response to a query; `seconds` are the fields of `Timing`, `rivals` are for an explanation."""
    ranked = _ranked(outcome.neighbors, outcome.votes, snapshot)
    response = RetrieveResponse(
        neighbor=ranked[0],
        neighbors=ranked[1:],
        certificate=_certificate(outcome.certificate, options, smoothed.model.input_shape),
        model=ModelRef(name=smoothed.model.manifest.name, digest=smoothed.digest),
        gallery=GalleryRef(
            name=options.gallery or DEFAULT_GALLERY,
            version=snapshot.version,
            size=snapshot.of_size,
            matching=len(snapshot) if snapshot.is_view else None,
        ),
        cache=cache,
        timing_ms=timing(seconds),
        explanation=None
        if rivals is None
        else _explanation(outcome.certificate, rivals, snapshot, _diameter(smoothed.model.input_shape)),
    )
    response._complete = outcome.complete
    return response


def about_file(
    answer: RetrieveResponse, pixels: FilePixels, input_shape: tuple[int, int, int]
) -> RetrieveResponse:
    """The `answer` to an input that was made of the `pixels` of a file: what it says of these."""
    claim = file_claim(answer.certificate.radius, pixels, input_shape)
    told: dict[str, object]
    if isinstance(claim, str):
        told = {"file_reason": claim}
    else:
        told = {
            "file_radius": claim.radius,
            "file_radius_unit": pixels.unit,
            "file_steps": None
            if claim.steps is None
            else FileStepsBody(one_pixel=claim.steps.one_pixel, all_pixels=claim.steps.all_pixels),
            "file_reason": None,
        }
    return answer.model_copy(update={"certificate": answer.certificate.model_copy(update=told)})


def _ranked(found: Neighbors, votes: tuple[int, ...] | None, snapshot: Snapshot) -> list[Neighbor]:
    return [
        Neighbor(
            id=item.id,
            label=item.label,
            distance=round(float(distance), 6),
            votes=count,
            metadata=item.metadata,
        )
        for item, distance, count in zip(
            (snapshot.items[row] for row in found.rows),
            found.distances,
            votes or (None,) * len(found.rows),
            strict=True,
        )
    ]


def _explanation(
    certificate: Certificate, rivals: Neighbors, snapshot: Snapshot, diameter: float
) -> ExplanationBody:
    planned = certificate.terms.horizon is not None or not certificate.terms.anytime
    expected = min(max(certificate.expected, certificate.radius), diameter)
    ranked = _ranked(rivals, None, snapshot)
    return ExplanationBody(
        rival=ranked[0] if ranked else None,
        rivals=ranked,
        expected_radius=None if planned else round_down(expected),
        alpha_spent=certificate.ledger,
    )


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
    return Timing(**{name: milliseconds(spent) for name, spent in seconds.items()})


def milliseconds(seconds: float) -> float:
    """To a hundredth."""
    return round(1000 * seconds, 2)


def _certificate(
    certificate: Certificate, options: RetrieveOptions, input_shape: tuple[int, int, int]
) -> CertificateBody:
    diameter = _diameter(input_shape)
    within = WithinBody(
        k=certificate.terms.within_k,
        item_radius=min(certificate.within_radius, diameter),
        label_radius=min(certificate.label_within_radius, diameter),
    )
    return CertificateBody(
        status="certified" if certificate.radius > 0 else "abstained",
        guarantee=options.guarantee,
        radius=min(certificate.radius, diameter),
        label_radius=min(certificate.label_radius, diameter),
        item_radius=min(certificate.item_radius, diameter),
        within=within if options.guarantee == "within" else None,
        radius_unit=radius_unit(input_shape),
        file_radius=None,
        file_radius_unit=None,
        file_steps=None,
        file_reason="no file was sent: radius is about the pixels themselves",
        alpha=certificate.terms.alpha,
        sigma=certificate.terms.sigma,
        samples=certificate.samples,
        rule=options.rule,
        method=options.method,
        reason=certificate.reason,
    )
