"""What a service answers, as dataclasses: their fields are those of docs/api.md.

A test compares them with the OpenAPI document. What a newer service adds is passed over.
"""

import base64
import html
import struct
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class AnswerItem:
    """A gallery item, its distance from the query, and its `votes` under rule `vote`."""

    id: str
    label: str
    distance: float
    votes: int | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class AnswerWithin:
    """With guarantee `within`: the radii below which the item, or its label, stays among the `k` nearest."""

    k: int
    item_radius: float
    label_radius: float


@dataclass(frozen=True)
class AnswerFileSteps:
    """Changes of the file's pixels that don't change the answer, in 8-bit steps.

    Each value of one pixel by less than `one_pixel` (255: by anything); or every value of all pixels by less
    than `all_pixels`.
    """

    one_pixel: float
    all_pixels: float


@dataclass(frozen=True)
class AnswerCertificate:
    """No change of the model's input of l2 norm below `radius` changes the answer.

    It is wrong with probability `alpha` at most. `status` is `certified`, or `abstained`: then `radius` is 0
    and `reason` says why. `file_radius` is about the pixels of the file that was sent, in `file_radius_unit`;
    None where nothing can be said of these, and `file_reason` says why.
    """

    status: str
    guarantee: str
    radius: float
    label_radius: float
    item_radius: float
    within: AnswerWithin | None
    radius_unit: str
    file_radius: float | None
    file_radius_unit: str | None
    file_steps: AnswerFileSteps | None
    file_reason: str | None
    alpha: float
    sigma: float
    samples: int
    rule: str
    method: str
    reason: str | None


@dataclass(frozen=True)
class AnswerModel:
    """Which model answered."""

    name: str
    digest: str


@dataclass(frozen=True)
class AnswerGallery:
    """Which gallery answered: `size` items are in all, and `matching` in what was asked, None for all.

    `name`: that of a named gallery, or `default`.
    """

    name: str
    version: int
    size: int
    matching: int | None


@dataclass(frozen=True)
class AnswerTiming:
    """Where the time went in the service, in milliseconds."""

    decode: float
    queue: float
    sample: float
    search: float
    certify: float
    total: float


@dataclass(frozen=True)
class AnswerExplanation:
    """What limits the radius. None of it is a claim.

    `rival`: of the items that have to stay behind the one that is likely to win first; `rivals`: it and the
    likeliest after it, of guarantee `label` one a label.
    """

    rival: AnswerItem | None
    rivals: list[AnswerItem]
    expected_radius: float | None
    alpha_spent: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """The nearest neighbour of a query, and its certificate."""

    neighbor: AnswerItem
    neighbors: list[AnswerItem]
    certificate: AnswerCertificate
    model: AnswerModel
    gallery: AnswerGallery
    cache: str
    timing_ms: AnswerTiming
    explanation: AnswerExplanation | None

    def __str__(self) -> str:
        """The answer in a sentence."""
        found = self.certificate
        name = self.neighbor.label if found.guarantee == "label" else self.neighbor.id
        if found.status == "abstained":
            return f"{name}, without a promise: {found.reason}"
        return f"{name}, certified within {found.radius:g} ({found.radius_unit}), α = {found.alpha:g}"

    def _repr_html_(self) -> str:
        """The answer as a notebook shows it."""
        found, nearest = self.certificate, self.neighbor
        rows = {
            "nearest": f"{nearest.label} ({nearest.id}), distance {nearest.distance:.3f}",
            "certificate": found.status if found.reason is None else f"{found.status}: {found.reason}",
            "radius": f"{found.radius:g}, {found.radius_unit}",
            "radius of the file": f"none: {found.file_reason}"
            if found.file_radius is None
            else f"{found.file_radius:g}, {found.file_radius_unit}",
            "guarantee": f"{found.guarantee}, wrong with a chance of at most α = {found.alpha:g}",
            "samples": f"{found.samples:,}, σ = {found.sigma:g}",
        }
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in rows.items()
        )
        return f"<table>{cells}</table>"

    def as_dict(self) -> dict[str, Any]:
        """The answer as the service sent it."""
        return asdict(self)


@dataclass(frozen=True)
class AnswerAttack:
    """An attack on an `answer`: the input that it led to, and the answer `moved` to that.

    `size`: the l2 norm of the change; `inside`: whether it is below the radius of `answer`; `changed`:
    whether `moved` is another answer; `broken`: whether it is certified as well, and inside: a mistake in the
    service, or the chance α. `pixels`: the input after the change, little-endian float32 in base64.
    """

    size: float
    inside: bool
    changed: bool
    broken: bool
    shape: list[int]
    pixels: str
    answer: Answer
    moved: Answer

    def input(self) -> list[list[list[float]]]:
        """The exact input after the change, C x H x W: with numpy, `np.array(attack.input(), np.float32)`."""
        content = base64.b64decode(self.pixels)
        values = struct.unpack(f"<{len(content) // 4}f", content)
        _, height, width = self.shape
        rows = [list(values[start : start + width]) for start in range(0, len(values), width)]
        return [rows[start : start + height] for start in range(0, len(rows), height)]


@dataclass(frozen=True)
class RoundItem:
    """Who is nearest so far."""

    id: str
    label: str


@dataclass(frozen=True)
class AnswerRound:
    """What is certified after so many samples; a valid claim, should it be the last."""

    samples: int
    radius: float
    neighbor: RoundItem


@dataclass(frozen=True)
class GallerySummary:
    """Version and size of the gallery, how many items of each label, and how many are left out."""

    version: int
    size: int
    damaged: int
    labels: dict[str, int]


@dataclass(frozen=True)
class GalleryItem:
    """An item of the gallery."""

    id: str
    label: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ItemPage:
    """Items in the order of addition; `next` is the cursor of the page after it, None after the last."""

    items: list[GalleryItem]
    next: str | None


@dataclass(frozen=True)
class ItemChange:
    """What became of an item: `added`, `replaced` or `unchanged`; and the version of the gallery since."""

    outcome: str
    item: GalleryItem
    version: int
    warnings: list[str]


@dataclass(frozen=True)
class RefusedFile:
    """A file that a job did not add: where it is in what was sent, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class GalleryJob:
    """Many files on their way into the gallery; `seen` of `total` were looked at.

    `state` is `waiting` or `running`, and at the end `done`, `failed` (`error` says why) or `cancelled`; then
    `refusals` names each file that was not added.
    """

    id: str
    state: str
    folder: str | None
    prefix: str
    replace: bool
    created: str
    ended: str | None
    starts: int
    total: int
    seen: int
    added: int
    replaced: int
    unchanged: int
    refused: int
    skipped: dict[str, int]
    refusals: list[RefusedFile]
    warnings: list[str]
    error: str | None
    replica: str | None


@dataclass(frozen=True)
class GalleryJobs:
    """All jobs, the newest first."""

    jobs: list[GalleryJob]


def shaped(kind: type[Shape], value: Any) -> Shape:
    """The JSON `value` as `kind`: a dataclass of this module, or something made of them."""
    found: Shape = _shaped(kind, value)
    return found


def _shaped(kind: Any, value: Any) -> Any:
    if isinstance(kind, UnionType):  # X | None
        return None if value is None else _shaped(get_args(kind)[0], value)
    if get_origin(kind) is list:
        return [_shaped(get_args(kind)[0], one) for one in value]
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**{name: _shaped(hint, value.get(name)) for name, hint in _members(kind).items()})
    return value


@cache
def _members(kind: type) -> dict[str, Any]:
    """The names and types of the fields of a dataclass."""
    return get_type_hints(kind)
