"""The forms in which a query may arrive: a raw image, multipart with a part `image`, or JSON."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.errors import BodyTooLarge, InvalidOption, MalformedBody, UnsupportedMediaType
from service.http.encoded import image_bytes
from service.http.multipart import parts
from service.http.reading import Parsing
from service.images import looks_like_an_image
from service.retrieval.options import RetrieveOptions, from_text, once, parse_options

# An image and one field for each option; more parts are an attack or a mistake.
MAX_PARTS = 17
# Sent by clients that don't know or don't say what they send.
_RAW = ("", "application/octet-stream", "binary/octet-stream")
# Longer whole numbers Python refuses to read: they take quadratic time.
_TOO_LONG = "a number in it has thousands of digits"

Pairs = list[tuple[str, Any]]


@dataclass(frozen=True)
class QueryBody:
    """A query as it was sent: an image file, or the nested lists of `pixels`; and its options."""

    image: bytes | None
    pixels: Any
    options: RetrieveOptions


async def read_query(request: Request, max_bytes: int, *apart: str) -> QueryBody:
    """Read and check a query, never more than `max_bytes` of it; what is `apart` in the URL is not its own.

    Raises `BodyTooLarge`, `UnsupportedMediaType`, `MalformedBody` or `InvalidOption`.
    """
    content_type, body = await read_body(request, max_bytes)
    given = request.query_params.multi_items()
    once([(name, text) for name, text in given if name in apart])
    work = partial(parse, content_type, body, [(name, text) for name, text in given if name not in apart])
    if not (is_json(content_type) or _is_form(content_type)):
        return work()  # an image is not looked into here: there is no more to parse than a query string
    parsing: Parsing = request.app.state.parsing
    return await parsing.run(work, json=body if is_json(content_type) else b"")


async def read_body(request: Request, max_bytes: int) -> tuple[str, bytes]:
    """The media type of the body, and the body.

    Raises `BodyTooLarge`, `UnsupportedMediaType` or `MalformedBody`.
    """
    content_type = _content_type(request)
    return content_type, await _read(request, max_bytes)


async def read_file(request: Request, max_bytes: int) -> bytes:
    """Read an image file that is the whole body; raises what `read_body` raises."""
    content_type, body = await read_body(request, max_bytes)
    if not _is_raw(content_type, body):
        raise UnsupportedMediaType(
            f"cannot read {content_type[:64]}: send the file itself, as image/png, image/jpeg, image/webp or"
            " application/octet-stream"
        )
    return not_empty(body)


def _is_raw(content_type: str, body: bytes) -> bool:
    """Whether a body of this type, which is no JSON and no form, is read as an image file."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in _RAW or kind.startswith("image/") or looks_like_an_image(body)


def _content_type(request: Request) -> str:
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("compressed bodies are not read: send the image as it is")
    given = {header.strip() for header in request.headers.getlist("content-type")}
    if len(given) > 1:
        raise UnsupportedMediaType("Content-Type is given more than once: which one is meant?")
    return given.pop() if given else ""


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body, counted as it comes: a missing or false Content-Length does not help past the limit."""
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLarge(f"the body has {declared} bytes, the limit is {max_bytes}: send a smaller image")
    try:
        async for part in request.stream():
            body += part
            if len(body) > max_bytes:
                raise BodyTooLarge(f"the body has more than {max_bytes} bytes: send a smaller image")
    except ClientDisconnect as error:
        raise MalformedBody("the body was cut off") from error
    return bytes(body)


def is_json(content_type: str) -> bool:
    """Whether a body of this type is read as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def _is_form(content_type: str) -> bool:
    """Whether a body of this type is read as a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def parse(content_type: str, body: bytes, query: Iterable[tuple[str, str]]) -> QueryBody:
    """The query of a whole body, with the options of its query string; takes time linear in both.

    Raises as `read_query` does.
    """
    if is_json(content_type):
        return query_of(json_document(body), query)
    image, given = form(content_type, body, from_text)
    return QueryBody(image, None, _options([(name, from_text(name, text)) for name, text in query] + given))


def query_of(document: Any, query: Iterable[tuple[str, str]] = ()) -> QueryBody:
    """The query that a JSON document holds; raises `MalformedBody` or `InvalidOption`."""
    if not isinstance(document, dict):
        raise MalformedBody("the JSON body must be an object with `image` or `pixels`")
    image, pixels = document.pop("image", None), document.pop("pixels", None)
    if (image is None) == (pixels is None):
        raise MalformedBody(
            "the JSON body must have either `image` (base64 or data URI) or `pixels` (numbers), and not both"
        )
    content = None if image is None else not_empty(image_bytes(image))
    options = [(name, from_text(name, text)) for name, text in query]
    return QueryBody(content, pixels, _options(options + list(document.items())))


def form(content_type: str, body: bytes, convert: Callable[[str, str], Any]) -> tuple[bytes, Pairs]:
    """The image of a body that is no JSON, and the fields beside it.

    `convert` makes a value of the name and the text of a field. What no form is, is an image if its bytes are
    one. Raises `UnsupportedMediaType` or `MalformedBody`.
    """
    image, given = body, Pairs()
    if _is_form(content_type):
        image, given = _multipart(content_type, body, convert)
    elif not _is_raw(content_type, body):
        kind = content_type.partition(";")[0].strip().lower()
        raise UnsupportedMediaType(
            f"cannot read {kind[:64]}: send the file as image/png, image/jpeg, image/webp or"
            " application/octet-stream, multipart/form-data with a part `image`, or application/json with"
            " `image` or `pixels`"
        )
    return not_empty(image), given


def not_empty(image: bytes) -> bytes:
    """`image`; raises `MalformedBody` if there is nothing of it."""
    if not image:
        raise MalformedBody("the image is empty: send the bytes of a PNG, JPEG or WebP file")
    return image


def _multipart(content_type: str, body: bytes, convert: Callable[[str, str], Any]) -> tuple[bytes, Pairs]:
    found = parts(content_type, body, MAX_PARTS)
    images = [part.content for part in found if part.name == "image"]
    if len(images) != 1:
        raise MalformedBody(f"multipart/form-data needs one part named `image`, got {len(images)}")
    try:
        texts = [(part.name, part.content.decode()) for part in found if part.name != "image"]
    except UnicodeDecodeError as error:
        raise MalformedBody("an option in the multipart body is not UTF-8") from error
    return images[0], [(name, convert(name, text)) for name, text in texts]


def json_document(body: bytes) -> Any:
    """The value that a JSON body is; raises `MalformedBody`, or `InvalidOption` on a member given twice."""
    try:
        return json.loads(body, object_pairs_hook=once)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from error
    except ValueError as error:
        raise MalformedBody(f"the JSON body cannot be read: {_TOO_LONG}") from error


def _options(given: Pairs) -> RetrieveOptions:
    return parse_options(once(_with_a_value(given)))


def _with_a_value(options: Pairs) -> Pairs:
    """Without the known ones that have no value: they may come twice."""
    known = RetrieveOptions.model_fields
    return [(name, value) for name, value in options if value is not None or name not in known]


def check_options(request: Request, *known: str) -> None:
    """Raises `InvalidOption` unless the query string has only `known` options, each once.

    One that is passed over could be what would have kept items from being deleted.
    """
    given = once(request.query_params.multi_items())
    told = f"known ones: {', '.join(known)}" if known else "there are none here"
    wrong = [(name, f"unknown option; {told}") for name in given if name not in known]
    if wrong:
        raise InvalidOption(*wrong[:16])
