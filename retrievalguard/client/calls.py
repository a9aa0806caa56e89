"""Requests as values: what is sent, and what is made of the answer. Sync and async clients share them."""

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Protocol, TypedDict, TypeGuard, TypeVar, runtime_checkable
from urllib.parse import quote

import httpx

from retrievalguard.client.answers import (
    Answer,
    AnswerAttack,
    AnswerRound,
    GalleryItem,
    GalleryJob,
    GalleryJobs,
    GallerySummary,
    ItemChange,
    ItemPage,
    shaped,
)
from retrievalguard.client.refusals import ClientError, ServiceProblem, problem, problem_of

Result = TypeVar("Result")


@runtime_checkable
class Picture(Protocol):
    """A PIL image, without importing PIL."""

    mode: str

    def save(self, fp: Any, format: str) -> None: ...  # noqa: D102


@runtime_checkable
class Array(Protocol):
    """A numpy array, without importing numpy."""

    dtype: Any

    def tolist(self) -> Any: ...  # noqa: D102


Image = str | PathLike[str] | bytes | Picture | Array
Archive = str | PathLike[str] | bytes


class Options(TypedDict, total=False):
    """The options of a query, docs/api.md; what is not given has the default of the service."""

    top_k: int
    guarantee: str
    within_k: int
    rule: str
    method: str
    alpha: float
    target_radius: float
    max_samples: int
    min_gain: float
    deadline_ms: int
    explain: bool
    gallery: str
    filter: Mapping[str, Any]


# Options that may be too long for a URL.
_IN_BODY = frozenset({"filter"})


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request, and the `result` of a response that succeeded.

    `repeatable`: doing it twice is as good as once, so it may be sent again when the answer was cut off.
    """

    method: str
    path: str
    result: Callable[[httpx.Response], Result]
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


def retrieve(image: Image, options: Options) -> Call[Answer]:
    """A query."""
    content, media = _query_body(image, options)
    return Call(
        "POST", "retrieve", _json(Answer), _in_url(options), content, {"Content-Type": media},
    )  # fmt: skip


def attack(image: Image, size: float, options: Options) -> Call[AnswerAttack]:
    """A query, and another answer sought near it."""
    content, media = _query_body(image, options)
    params = {**_in_url(options), **_written({"size": size})}
    return Call("POST", "attack", _json(AnswerAttack), params, content, {"Content-Type": media})


def batch(images: Iterable[Image], options: Options) -> Call[list[Answer | ServiceProblem]]:
    """Many queries at once, with the same options."""
    queries = [_query_json(image, options) for image in images]
    headers = {"Content-Type": "application/json"}
    content = json.dumps({"queries": queries}).encode()
    return Call("POST", "retrieve/batch", _results, _in_url(options), content, headers)


def gallery() -> Call[GallerySummary]:
    """The gallery as a whole."""
    return Call("GET", "gallery", _json(GallerySummary))


def items(label: str | None, cursor: str | None, gallery: str | None) -> Call[ItemPage]:
    """A page of the gallery, or of a named one."""
    options = _written({"label": label, "cursor": cursor})
    return Call("GET", f"{_place(gallery)}/items", _json(ItemPage), options)


def item(item_id: str, gallery: str | None) -> Call[GalleryItem]:
    """An item, of all or of a named gallery."""
    return Call("GET", f"{_place(gallery)}/items/{_quoted(item_id)}", _json(GalleryItem))


def item_image(item_id: str, gallery: str | None) -> Call[bytes]:
    """The image file of an item, of all or of a named gallery."""
    path = f"{_place(gallery)}/images/{_quoted(item_id)}"
    return Call("GET", path, lambda response: response.content)


def add(image: Image, item_id: str, label: str, metadata: Mapping[str, Any] | None) -> Call[ItemChange]:
    """A new item. It is not repeatable: the second time it would be there already."""
    return _change("POST", "gallery/items", {"id": item_id, "label": label, "metadata": metadata}, image)


def put(image: Image, item_id: str, label: str, metadata: Mapping[str, Any] | None) -> Call[ItemChange]:
    """An item, new or in place of the one with its id."""
    return _change("PUT", f"gallery/items/{_quoted(item_id)}", {"label": label, "metadata": metadata}, image)


def revise(item_id: str, label: str | None, metadata: Mapping[str, Any] | None) -> Call[ItemChange]:
    """Another label, other metadata, or both."""
    return _change("PATCH", f"gallery/items/{_quoted(item_id)}", {"label": label, "metadata": metadata})


def delete(item_id: str) -> Call[None]:
    """The end of an item."""
    path = f"gallery/items/{_quoted(item_id)}"
    return Call("DELETE", path, lambda response: None, repeatable=False)


def start_job(archive: Archive, prefix: str, *, replace: bool) -> Call[GalleryJob]:
    """A zip or tar file on its way into the gallery. Not repeatable: it would be done twice."""
    content = archive if isinstance(archive, bytes) else Path(archive).read_bytes()
    options = _written({"prefix": prefix, "replace": replace})
    headers = {"Content-Type": "application/octet-stream"}
    return Call("POST", "gallery/jobs", _json(GalleryJob), options, content, headers, repeatable=False)


def jobs() -> Call[GalleryJobs]:
    """All jobs."""
    return Call("GET", "gallery/jobs", _json(GalleryJobs))


def job(job_id: str) -> Call[GalleryJob]:
    """How far a job is."""
    return Call("GET", f"gallery/jobs/{_quoted(job_id)}", _json(GalleryJob))


def cancel_job(job_id: str) -> Call[GalleryJob]:
    """The end of a job."""
    return Call("DELETE", f"gallery/jobs/{_quoted(job_id)}", _json(GalleryJob), repeatable=False)


def galleries() -> Call[dict[str, dict[str, Any]]]:
    """The filters of all named galleries, by name."""

    def by_name(response: httpx.Response) -> dict[str, dict[str, Any]]:
        return {one["name"]: one["filter"] for one in _json(_Galleries)(response).galleries}

    return Call("GET", "galleries", by_name)


def put_gallery(name: str, wanted: Mapping[str, Any]) -> Call[None]:
    """A named gallery, new or with another filter."""
    content = json.dumps({"filter": wanted}).encode()
    headers = {"Content-Type": "application/json"}
    return Call("PUT", f"galleries/{_quoted(name)}", lambda response: None, {}, content, headers)


def delete_gallery(name: str) -> Call[None]:
    """The end of a name."""
    return Call("DELETE", f"galleries/{_quoted(name)}", lambda response: None, repeatable=False)


def _change(
    method: str, path: str, fields: Mapping[str, Any], image: Image | None = None
) -> Call[ItemChange]:
    given = {name: value for name, value in fields.items() if value is not None}
    if image is not None:
        given["image"] = base64.b64encode(_file(image)).decode()
    headers = {"Content-Type": "application/json"}
    content = json.dumps(given).encode()
    return Call(method, path, _json(ItemChange), {}, content, headers, repeatable=method == "PUT")


class Events:
    """The events of a streamed answer, out of its lines: rounds, and then the answer."""

    def __init__(self) -> None:
        self._name = ""
        self.whole = False

    def of(self, line: str) -> AnswerRound | Answer | None:
        """What a line completes, if anything; raises `ServiceProblem` when the query failed after all."""
        name, _, value = line.partition(": ")
        if name == "event":
            self._name = value
        if name != "data":
            return None
        document = json.loads(value)
        if self._name == "problem":
            raise problem(int(document["status"]), document)
        self.whole = self._name == "answer"
        return shaped(Answer, document) if self.whole else shaped(AnswerRound, document)


def checked(response: httpx.Response) -> httpx.Response:
    """The response, whose body was read, unless it is a problem, which is raised."""
    if response.is_success:
        return response
    raise problem_of(response)


def _json(kind: type[Result]) -> Callable[[httpx.Response], Result]:
    def result(response: httpx.Response) -> Result:
        try:
            return shaped(kind, response.json())
        except (ValueError, AttributeError) as error:
            raise ClientError(f"what answers at {response.url} is no RetrievalGuard service") from error

    return result


def _results(response: httpx.Response) -> list[Answer | ServiceProblem]:
    found = _json(_Results)(response)
    return [_result(one) for one in found.results]


def _result(one: dict[str, Any]) -> Answer | ServiceProblem:
    if one["problem"] is not None:
        return problem(int(one["problem"]["status"]), one["problem"])
    return shaped(Answer, one["answer"])


@dataclass(frozen=True)
class _Galleries:
    galleries: list[dict[str, Any]]


@dataclass(frozen=True)
class _Results:
    results: list[dict[str, Any]]


def _query_body(image: Image, options: Options) -> tuple[bytes, str]:
    if _is_array(image) or _IN_BODY & options.keys():
        return json.dumps(_query_json(image, options)).encode(), "application/json"
    return _file(image), "application/octet-stream"


def _query_json(image: Image, options: Options) -> dict[str, Any]:
    in_body = {name: value for name, value in options.items() if name in _IN_BODY}
    if _is_array(image):
        return {"pixels": image.tolist()} | in_body
    return {"image": base64.b64encode(_file(image)).decode()} | in_body


def _in_url(options: Options) -> dict[str, str]:
    return _written({name: value for name, value in options.items() if name not in _IN_BODY})


def _is_array(image: Image) -> TypeGuard[Array]:
    """Whether it is the exact input; raises `TypeError` on an array that is none."""
    if not isinstance(image, Array) or isinstance(image, Picture):
        return False
    if getattr(image.dtype, "kind", None) != "f":
        raise TypeError(
            f"an array is the exact input of the model, C x H x W floats in [0, 1], got {image.dtype}:"
            " send 8-bit pixels as a PIL image"
        )
    return True


def _file(image: Image) -> bytes:
    """The bytes of an image file; a PIL image becomes a PNG, which loses nothing."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    if isinstance(image, Picture):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    raise TypeError(f"an image is a path, the bytes of a file, or a PIL image, got {type(image).__name__}")


def _written(given: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as they stand in a URL."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
        if value is not None
    }


def _place(gallery: str | None) -> str:
    """Where the items of a gallery are; None: of all of it."""
    return "gallery" if gallery is None else f"galleries/{_quoted(gallery)}"


def _quoted(item_id: str) -> str:
    return quote(item_id, safe="")
