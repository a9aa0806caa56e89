"""The forms in which a query may arrive: a raw image, multipart with a part `image`, or JSON."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import BodyTooLarge, InvalidOption, MalformedBody, UnsupportedMediaType
from service.images import MEDIA_TYPES
from service.retrieval.options import RetrieveOptions, parse_options

# An image and one field for each option; more parts are an attack or a mistake.
MAX_FIELDS = 16


@dataclass(frozen=True)
class QueryBody:
    """A query as it was sent: an image file, or the nested lists of `pixels`; and its options."""

    image: bytes | None
    pixels: Any
    options: RetrieveOptions


async def read_query(request: Request, max_bytes: int) -> QueryBody:
    """Read and check a query, never more than `max_bytes` of it.

    Raises `BodyTooLarge`, `UnsupportedMediaType`, `MalformedBody` or `InvalidOption`.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("compressed bodies are not read: send the image as it is")
    body = await _read(request, max_bytes)
    parsing = request.app.state.parsing
    image: bytes | None = None
    pixels: Any = None
    given: dict[str, Any] = {}
    if kind in MEDIA_TYPES.values():
        image = body
    elif kind == "multipart/form-data":
        image, given = await parsing.run(partial(_multipart, request.headers, body))
    elif kind == "application/json":
        image, pixels, given = await parsing.run(partial(_json, body), json=body)
    else:
        raise UnsupportedMediaType(
            f"cannot read {kind or 'a body without Content-Type'}: send image/png, image/jpeg or image/webp,"
            " multipart/form-data with a part `image`, or application/json with `image` or `pixels`"
        )
    if image is not None and not image:
        raise MalformedBody("the image is empty: send the bytes of a PNG, JPEG or WebP file")
    return QueryBody(image, pixels, _options(list(request.query_params.multi_items()), given))


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


def _multipart(headers: Headers, body: bytes) -> tuple[bytes, dict[str, Any]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    async def parsed() -> tuple[bytes, dict[str, Any]]:
        parser = MultiPartParser(
            headers, stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=len(body) + 1
        )
        parser.spool_max_size = len(body) + 1  # never to a file: the body is in memory anyway
        form: FormData = await parser.parse()
        try:
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise MalformedBody("multipart/form-data needs a file part named `image`")
            fields = [(name, value) for name, value in form.multi_items() if name != "image"]
            return await image.read(), dict(_once(fields))
        finally:
            await form.close()

    try:
        return asyncio.run(parsed())
    except (MultiPartException, LookupError, ValueError) as error:
        raise MalformedBody(f"the multipart body cannot be read: {error}") from error


def _json(body: bytes) -> tuple[bytes | None, Any, dict[str, Any]]:
    try:
        document = json.loads(body, object_pairs_hook=lambda pairs: dict(_once(pairs)))
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict) or ("image" in document) == ("pixels" in document):
        raise MalformedBody(
            "the JSON body must be an object with either `image` (base64 or data URI) or `pixels` (numbers)"
        )
    if "image" in document:
        return _base64(document.pop("image")), None, document
    return None, document.pop("pixels"), document


def _base64(text: Any) -> bytes:
    """The bytes of base64 text or of a `data:...;base64,...` URI."""
    if isinstance(text, str):
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise MalformedBody("`image` must be a base64 string or a data URI of a PNG, JPEG or WebP file")


def _once(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidOption((name, "given more than once: which one is meant?"))
    return pairs


def _options(query: list[tuple[str, str]], given: dict[str, Any]) -> RetrieveOptions:
    return parse_options(dict(_once([*query, *given.items()])))
