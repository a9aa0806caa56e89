"""The forms in which an item may arrive: a raw image, multipart with a part `image`, or JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request

from service.errors import InvalidOption, ItemInvalid, MalformedBody, Problem, UnsupportedMediaType
from service.gallery.items import Addition
from service.http.batches import each, listed
from service.http.body import Pairs, form, is_json, json_document, not_empty, read_body
from service.http.encoded import image_bytes
from service.http.reading import OTHER_VALUES, Parsing
from service.retrieval.options import once
from service.settings import Settings

FIELDS = ("id", "label", "metadata")


@dataclass(frozen=True)
class ItemFields:
    """An item as it was sent: what is None was not given."""

    id: str | None
    label: str | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True)
class SentItem:
    """An item as it was sent, with its image file."""

    fields: ItemFields
    image: bytes


async def read_item(request: Request, settings: Settings) -> SentItem:
    """Read an item with its image. Raises what `read_query` raises, or `ItemInvalid`."""
    content_type, body = await read_body(request, settings.max_body_bytes)
    work = partial(parse_item, content_type, body, request.query_params.multi_items())
    parsing: Parsing = request.app.state.parsing
    json = body if is_json(content_type) else b""
    return await parsing.run(work, json=json, most=_most_values(settings, 1))


async def read_items(request: Request, settings: Settings) -> Addition | Sequence[Addition | Problem]:
    """Read an item to add, or a batch of them, or what is wrong with one, in their places.

    Raises what `read_item` raises, if there is no batch.
    """
    content_type, body = await read_body(request, settings.max_body_bytes)
    query = request.query_params.multi_items()
    parsing: Parsing = request.app.state.parsing
    if not is_json(content_type):
        return await parsing.run(lambda: _addition(parse_item(content_type, body, query)))

    def parse() -> Addition | Sequence[Addition | Problem]:
        document, in_url = json_document(body), [(name, _from_text(name, text)) for name, text in query]
        batch = listed(document, "items", settings.batch_limit)
        if batch is None:
            return _addition(item_of(document, in_url))
        return each(batch, lambda one: _addition(item_of(one, in_url)))

    return await parsing.run(parse, json=body, most=_most_values(settings, settings.batch_limit))


def _addition(sent: SentItem) -> Addition:
    id_, label = given("id", sent.fields.id), given("label", sent.fields.label)
    return Addition(id_, label, sent.fields.metadata or {}, sent.image)


async def read_revision(request: Request, settings: Settings) -> ItemFields:
    """Read what is to be another label, other metadata, or both. Raises what `read_item` raises."""
    content_type, body = await read_body(request, settings.max_body_bytes)
    if not is_json(content_type):
        raise UnsupportedMediaType("send application/json with `label`, `metadata` or both")
    parsing: Parsing = request.app.state.parsing
    return await parsing.run(partial(parse_revision, body), json=body, most=_most_values(settings, 1))


def _most_values(settings: Settings, items: int) -> int:
    """How many values so many items in JSON may hold: one may have metadata that is a long list of digits."""
    return items * OTHER_VALUES + settings.max_metadata_bytes // 2


def parse_item(content_type: str, body: bytes, query: Iterable[tuple[str, str]]) -> SentItem:
    """The item of a whole body, with the fields of its query string; raises as `read_item` does."""
    in_url = [(name, _from_text(name, text)) for name, text in query]
    if is_json(content_type):
        return item_of(json_document(body), in_url)
    image, given = form(content_type, body, _from_text)
    return SentItem(_fields(in_url + given), image)


def item_of(document: Any, in_url: Pairs | None = None) -> SentItem:
    """The item that a JSON document holds."""
    if not isinstance(document, dict) or document.get("image") is None:
        raise MalformedBody(
            "an item in JSON is an object with `image` (base64 or data URI), `id` and `label`"
        )
    image = not_empty(image_bytes(document.pop("image")))
    return SentItem(_fields([*(in_url or ()), *document.items()]), image)


def parse_revision(body: bytes) -> ItemFields:
    """The label and metadata of a JSON body, of which there must be one."""
    document = json_document(body)
    if not isinstance(document, dict):
        raise MalformedBody("the JSON body must be an object with `label`, `metadata` or both")
    found = _fields(list(document.items()))
    if found.label is None and found.metadata is None:
        raise MalformedBody("nothing to change: send `label`, `metadata` or both")
    return found


def given(name: str, value: str | None) -> str:
    """A field that an item needs; raises `ItemInvalid` if it was not given."""
    if value is None:
        raise ItemInvalid(f"the item has no `{name}`: give it in the query string, or in the form or JSON")
    return value


def _fields(pairs: Pairs) -> ItemFields:
    given: Mapping[str, Any] = once([(name, value) for name, value in pairs if value is not None])
    unknown = [
        (name, f"unknown field; known ones: {', '.join(FIELDS)}") for name in given if name not in FIELDS
    ]
    if unknown:
        raise InvalidOption(*unknown[:16])
    for name, kind, what in (
        ("id", str, "text"),
        ("label", str, "text"),
        ("metadata", dict, "a JSON object"),
    ):
        if name in given and not isinstance(given[name], kind):
            raise ItemInvalid(f"`{name}` must be {what}")
    return ItemFields(given.get("id"), given.get("label"), given.get("metadata"))


def _from_text(name: str, text: str) -> Any:
    """The value of a field that came as text, in a query string or a form; None if it is empty."""
    if not text:
        return None
    if name != "metadata":
        return text
    try:
        return json_document(text.encode())
    except MalformedBody as error:
        raise ItemInvalid(f"`metadata` must be a JSON object: {error}") from error
