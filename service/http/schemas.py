"""The shapes of what routes besides /retrieve send, as clients see them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from certify import Guarantee, Method, Rule
from models import Domain, Measured, Preprocessing, Recall
from service.gallery.job_records import Job
from service.http.problems import ProblemBody
from service.retrieval.answer import RetrieveResponse


class ItemBody(BaseModel):
    """A gallery item."""

    id: str
    label: str
    metadata: dict[str, Any]


class ItemsBody(BaseModel):
    """A page of items. `next`: the `cursor` of the next page; null: there is none."""

    items: list[ItemBody]
    next: str | None


class ChangeBody(BaseModel):
    """What became of an item, the item as it is now, and the version of the gallery.

    `warnings`: what looks like a mistake, though it was done.
    """

    outcome: Literal["added", "replaced", "unchanged"]
    item: ItemBody
    version: int
    warnings: list[str]


class ChangeResult(BaseModel):
    """What became of one item of a batch, or the problem that it met."""

    change: ChangeBody | None = None
    problem: ProblemBody | None = None


class ChangesBody(BaseModel):
    """What became of a batch of items, in their order, and the version of the gallery."""

    results: list[ChangeResult]
    version: int


class AnswerResult(BaseModel):
    """The answer to one query of a batch, or the problem that it met."""

    answer: RetrieveResponse | None = None
    problem: ProblemBody | None = None


class AnswersBody(BaseModel):
    """The results of a batch of queries, in their order."""

    results: list[AnswerResult]


class DeletedBody(BaseModel):
    """How many items were deleted, and the version of the gallery."""

    deleted: int
    version: int


class JobsBody(BaseModel):
    """All jobs, the newest first."""

    jobs: list[Job]


class SnapshotBody(BaseModel):
    """A snapshot of the gallery: its name, when it was made, and how large its file is.

    `replica`: which one has it, where several share the gallery.
    """

    name: str
    created: datetime
    bytes: int
    replica: str | None


class SnapshotsBody(BaseModel):
    """All snapshots, by name."""

    snapshots: list[SnapshotBody]


class MadeSnapshot(SnapshotBody):
    """A snapshot that was just made: what it holds, and what was left out, being damaged."""

    version: int
    items: int
    damaged: list[str]
    damaged_vectors: int


class RestoredBody(BaseModel):
    """The gallery after a snapshot was put in its place: its version, and how many items it has."""

    version: int
    items: int


class NamedGalleryBody(BaseModel):
    """A named gallery: the filter that its items match."""

    name: str
    filter: dict[str, Any]


class GalleriesBody(BaseModel):
    """All named galleries; `default`, the first, is all items."""

    galleries: list[NamedGalleryBody]


class PartBody(NamedGalleryBody):
    """A named gallery, and what is in it: how many items, and how many of each label."""

    version: int
    size: int
    labels: dict[str, int]


class GalleryBody(BaseModel):
    """The gallery: its version, how many items are searched, and how many of each label.

    `damaged`: items that are left out, because they or their vectors are not what was stored.
    """

    version: int
    size: int
    damaged: int
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


class GalleryVectorsBody(BaseModel):
    """Where gallery vectors come from: the mean of so many samples, drawn here.

    Of pictures with the pixels of one of `shipped` they come with the model instead: means of
    `shipped_samples`. 0: the model ships none, or none that hold for it and its σ.
    """

    samples: int
    shipped: int
    shipped_samples: int


class ModelBody(BaseModel):
    """The model that is served; `warnings` tell what images lose on their way to it.

    `preprocessing`: how a file becomes as large as the input; null: it is stretched, bilinear. `recall`: how
    well it answered when it was measured; null: the model ships no such figures for its σ. `attack_seconds`:
    how long an attack on an answer may take; 0: there are none.
    """

    name: str
    digest: str
    input_shape: tuple[int, int, int]
    dimension: int
    sigma: float
    radius_unit: str
    preprocessing: Preprocessing | None
    forward_pass: ForwardPassBody
    gallery_vectors: GalleryVectorsBody
    defaults: Defaults
    attack_seconds: float
    trained_on: Domain
    recall: Recall | None
    warnings: list[str]


class InputBody(BaseModel):
    """What the model sees of an image file, and a sentence for each thing that is lost on the way.

    `pixels`: the exact input tensor of `shape` (C, H, W), row by row: little-endian float32 in base64.
    """

    shape: tuple[int, int, int]
    pixels: str
    losses: list[str]


class Health(BaseModel):
    """`ok`, with what was checked."""

    status: Literal["ok"]
    checks: dict[str, str] = {}
