"""Every error a client can meet, as one tree. Each becomes RFC 9457 `application/problem+json`.

Problem                     the root: status, stable type, title, and a detail that says what to do next
├── MalformedBody           400  the body is not what its media type says
├── HostNotAllowed          400  the Host header names a host that is not served here
├── ChangesNotAllowed       403  the gallery is not to be changed without a key, or not by this client
├── AttacksNotAllowed       403  attacks on answers are off here
├── Unauthorized            401  no key, or none that is known
├── Forbidden               403  a key that was not made for this
├── ItemNotFound            404  no gallery item with this id
├── JobNotFound             404  no job with this id
├── GalleryNotFound         404  no named gallery of this name
├── SnapshotNotFound        404  no snapshot of this name
├── RequestTimeout          408  the body was not there in time
├── GalleryEmpty            409  a query, and nothing to compare it with
├── FilterMatchesNothing    409  a query whose filter leaves no item
├── ItemExists              409  another item has this id
├── SnapshotExists          409  a snapshot of this name, or as many as may be
├── TooManyGalleries        409  as many named galleries as may be
├── SnapshotOfAnotherModel  409  a snapshot whose items the model that is served has not embedded
├── PreconditionFailed      412  the item is not the one that `If-Match` names
├── BodyTooLarge            413  more bytes than the limit
├── ImageTooLarge           413  more pixels than the limit
├── UnsupportedMediaType    415  a content type that the route does not read
├── NotAnImage              415  the bytes are no PNG, JPEG or WebP
├── ImageDamaged            422  an image file that cannot be decoded to its end
├── ImageTooSmall           422  fewer pixels than the limit
├── ImageAnimated           422  more than one frame
├── ImageBlank              422  nothing is left of a picture when its transparency is laid over black
├── PixelsInvalid           422  the wrong shape or type, not finite, or outside [0, 1]
├── ItemInvalid             422  an id, a label or metadata that cannot be stored
├── GalleryInvalid          422  a name that no gallery can have, or a filter that is none
├── SnapshotInvalid         422  a name that no snapshot can have
├── InvalidOption           422  an option is unknown, given twice, or out of range
├── ModelFailure            500  the network returned something that is not a finite vector
└── Unavailable                  not now; Retry-After says when to come back
    ├── RateLimited         429  a key has used what it may use in a minute
    ├── Overloaded          503  too many requests, bytes, queries or samples are under way already
    ├── SamplersAway        503  no sampler of the cluster answers, or too many were lost
    ├── GalleryFailure      503  the gallery file cannot be read, or an item in it is damaged
    ├── ShuttingDown        503  the service ends
    └── NotReady            503  the model or the gallery does not work
"""

from typing import Any, ClassVar


class Problem(Exception):
    """An error with an HTTP status and a type that clients may rely on; `detail` says what to do next."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions


class MalformedBody(Problem):
    """The body is not what its media type says."""

    status, slug, title = 400, "malformed-body", "Malformed body"


class HostNotAllowed(Problem):
    """The Host header is not one of `RETRIEVALGUARD_ALLOWED_HOSTS`."""

    status, slug, title = 400, "host-not-allowed", "Host not allowed"


class Unauthorized(Problem):
    """A key is needed here, and none was sent, or one that is not known, or no longer."""

    status, slug, title = 401, "unauthorized", "A key is needed"


class Forbidden(Problem):
    """The key was not made for this: it lacks the `scope`, or is for some named galleries alone."""

    status, slug, title = 403, "forbidden", "Not allowed"


class RequestTimeout(Problem):
    """The body was not there within `RETRIEVALGUARD_BODY_TIMEOUT_SECONDS`."""

    status, slug, title = 408, "request-timeout", "Request timeout"


class ChangesNotAllowed(Problem):
    """The gallery is not to be changed without a key, or not by this client (`service.http.changing`)."""

    status, slug, title = 403, "changes-not-allowed", "Changes are not allowed"


class AttacksNotAllowed(Problem):
    """Attacks on answers are off: `RETRIEVALGUARD_ATTACK_SECONDS` is 0."""

    status, slug, title = 403, "attacks-not-allowed", "Attacks are not allowed"


class ItemNotFound(Problem):
    """No gallery item with this id."""

    status, slug, title = 404, "item-not-found", "Item not found"


class JobNotFound(Problem):
    """No job with this id, or one that was forgotten."""

    status, slug, title = 404, "job-not-found", "Job not found"


class GalleryNotFound(Problem):
    """No named gallery of this name."""

    status, slug, title = 404, "gallery-not-found", "Gallery not found"


class TooManyGalleries(Problem):
    """There are as many named galleries as `RETRIEVALGUARD_MAX_GALLERIES`."""

    status, slug, title = 409, "too-many-galleries", "Too many galleries"


class GalleryInvalid(Problem):
    """A name that no named gallery can have, or a filter that is none."""

    status, slug, title = 422, "gallery-invalid", "Invalid gallery"


class SnapshotNotFound(Problem):
    """No snapshot of this name."""

    status, slug, title = 404, "snapshot-not-found", "Snapshot not found"


class SnapshotExists(Problem):
    """There is a snapshot of this name, or as many as `RETRIEVALGUARD_MAX_SNAPSHOTS`."""

    status, slug, title = 409, "snapshot-exists", "The snapshot exists"


class SnapshotOfAnotherModel(Problem):
    """The model that is served has not embedded all items of a snapshot."""

    status, slug, title = 409, "snapshot-of-another-model", "Snapshot of another model"


class SnapshotInvalid(Problem):
    """A name that no snapshot can have."""

    status, slug, title = 422, "snapshot-invalid", "Invalid snapshot"


class GalleryEmpty(Problem):
    """A query, and nothing to compare it with."""

    status, slug, title = 409, "gallery-empty", "The gallery is empty"


class FilterMatchesNothing(Problem):
    """A query whose filter leaves no item of the gallery."""

    status, slug, title = 409, "filter-matches-nothing", "The filter matches nothing"


class ItemExists(Problem):
    """Another item has this id: nothing was changed."""

    status, slug, title = 409, "item-exists", "The item exists"


class PreconditionFailed(Problem):
    """The item is not the one that `If-Match` or `If-None-Match` is about: nothing was changed."""

    status, slug, title = 412, "precondition-failed", "Precondition failed"


class BodyTooLarge(Problem):
    """More bytes than `RETRIEVALGUARD_MAX_BODY_BYTES`."""

    status, slug, title = 413, "body-too-large", "Body too large"


class ImageTooLarge(Problem):
    """More pixels than `RETRIEVALGUARD_MAX_IMAGE_PIXELS`."""

    status, slug, title = 413, "image-too-large", "Image too large"


class UnsupportedMediaType(Problem):
    """A content type that the route does not read."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class NotAnImage(Problem):
    """The bytes are no PNG, JPEG or WebP file."""

    status, slug, title = 415, "not-an-image", "Not an image"


class ImageDamaged(Problem):
    """An image file that cannot be decoded to its end."""

    status, slug, title = 422, "image-damaged", "Image damaged"


class ImageTooSmall(Problem):
    """A side shorter than `RETRIEVALGUARD_MIN_IMAGE_SIDE`."""

    status, slug, title = 422, "image-too-small", "Image too small"


class ImageAnimated(Problem):
    """More than one frame: which one is the query?"""

    status, slug, title = 422, "image-animated", "Animated image"


class ImageBlank(Problem):
    """Nothing is left of a picture when its transparency is laid over black."""

    status, slug, title = 422, "image-blank", "Nothing to see"


class PixelsInvalid(Problem):
    """An input tensor of the wrong shape or type, not finite, or outside [0, 1]."""

    status, slug, title = 422, "pixels-invalid", "Invalid pixels"


class ItemInvalid(Problem):
    """An id, a label or metadata that cannot be stored."""

    status, slug, title = 422, "item-invalid", "Invalid item"


class InvalidOption(Problem):
    """Options are unknown, given twice, or out of range; `errors` lists each with its message."""

    status, slug, title = 422, "invalid-option", "Invalid option"

    def __init__(self, *errors: tuple[str, str]) -> None:
        named = [{"option": _cut(option), "message": message} for option, message in errors]
        super().__init__("; ".join(f"{e['option']}: {e['message']}" for e in named), errors=named)


def _cut(name: str) -> str:
    """A client's own name as it goes back: cut, so that the answer is short, and always Unicode."""
    return name[:64].encode("utf-8", "replace").decode()


class ModelFailure(Problem):
    """The network returned something that is not a finite vector."""

    status, slug, title = 500, "model-failure", "Model failure"


class Unavailable(Problem):
    """Not now: `retry_after` is in seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RateLimited(Unavailable):
    """A key has used the requests or the samples that it may use in a minute."""

    status, slug, title = 429, "rate-limited", "Too much in a minute"


class Overloaded(Unavailable):
    """Too many requests, bytes of bodies, queries or samples are under way already."""

    status, slug, title = 503, "overloaded", "Overloaded"


class SamplersAway(Unavailable):
    """No sampler of the cluster answers, or too many were lost while they drew for the query."""

    status, slug, title = 503, "samplers-away", "Samplers are away"


class GalleryFailure(Unavailable):
    """The gallery file cannot be read, or an item in it is not what was stored."""

    status, slug, title = 503, "gallery-failure", "Gallery failure"

    def __init__(self, detail: str = "the gallery cannot be read: the server's log tells why") -> None:
        super().__init__(detail, retry_after=5)  # names no path: a client is told what it can do


class ShuttingDown(Unavailable):
    """The service ends: nothing new is taken, and what runs has had its time."""

    status, slug, title = 503, "shutting-down", "Shutting down"


class NotReady(Unavailable):
    """The model or the gallery does not work: /readyz tells a load balancer."""

    status, slug, title = 503, "not-ready", "Not ready"


class Abandoned(Exception):  # not a problem of anybody's: nobody is there to be told
    """The client left before its answer was there."""
