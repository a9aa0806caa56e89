"""The shapes of answers, as clients see them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from certify import Guarantee, Method
from models import Measured
from service.options import Rule

# Whether none, some or all of the samples of an answer were drawn before.
CacheResult = Literal["miss", "resumed", "hit"]


class Neighbor(BaseModel):
    """A gallery item, and its distance from the mean embedding of the query.

    `votes`, under rule `vote`: how many of the noisy copies have it as their nearest neighbour.
    """

    id: str
    label: str
    distance: float
    votes: int | None = None
    metadata: dict[str, Any]


class CertificateBody(BaseModel):
    """The claim: no perturbation of l2 norm below `radius` changes the answer, except with probability alpha.

    `radius` is that of `guarantee`; both radii hold together. `reason` says why an answer abstained.
    """

    status: Literal["certified", "abstained"]
    guarantee: Guarantee
    radius: float
    label_radius: float
    item_radius: float
    radius_unit: str
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
    """Which gallery answered."""

    version: int
    size: int


class Timing(BaseModel):
    """Where the time of an answer went, in milliseconds."""

    decode: float
    queue: float
    sample: float
    search: float
    certify: float
    total: float


class RetrieveResponse(BaseModel):
    """The nearest neighbour, its certificate, and what they were computed with."""

    neighbor: Neighbor
    neighbors: list[Neighbor] = Field(description="Ranks 2 to top_k, nearest first.")
    certificate: CertificateBody
    model: ModelRef
    gallery: GalleryRef
    cache: CacheResult
    timing_ms: Timing


class RoundNeighbor(BaseModel):
    """Who is nearest so far."""

    id: str
    label: str


class RoundBody(BaseModel):
    """An event `round` of a streamed answer: what is certified after so many samples."""

    samples: int
    radius: float
    neighbor: RoundNeighbor


class ItemBody(BaseModel):
    """A gallery item."""

    id: str
    label: str
    metadata: dict[str, Any]


class GalleryBody(BaseModel):
    """The gallery: its size, its version and how many items each label has."""

    version: int
    size: int
    labels: dict[str, int]


class Defaults(BaseModel):
    """What a query without options gets."""

    alpha: float
    samples: int
    min_gain: float
    guarantee: Guarantee
    rule: Rule
    method: Method


class ForwardPassBody(BaseModel):
    """How the network is run, and why; `measured` when the choice was made, on one thread."""

    variant: str
    batch: int
    reason: str
    measured: list[Measured]


class ModelBody(BaseModel):
    """The model that is served."""

    name: str
    digest: str
    input_shape: tuple[int, int, int]
    dimension: int
    sigma: float
    radius_unit: str
    forward_pass: ForwardPassBody
    defaults: Defaults


class Health(BaseModel):
    """`ok`, with what was checked."""

    status: Literal["ok"]
    checks: dict[str, str] = {}


class ProblemBody(BaseModel):
    """RFC 9457 problem details; `type` is stable."""

    type: str
    title: str
    status: int
    detail: str
