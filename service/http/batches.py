"""The batch forms, of queries and of items: a JSON list, or an object that holds it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from service.errors import BodyTooLarge, MalformedBody, Problem, UnsupportedMediaType
from service.http.body import QueryBody, is_json, json_document, query_of, read_body
from service.http.reading import Parsing
from service.settings import Settings

One = TypeVar("One")


async def read_queries(request: Request, settings: Settings) -> Sequence[QueryBody | Problem]:
    """The queries of a batch, or what is wrong with one, in their places.

    Raises `BodyTooLarge`, `UnsupportedMediaType` or `MalformedBody`: then there is no batch.
    """
    content_type, body = await read_body(request, settings.max_body_bytes)
    if not is_json(content_type):
        raise UnsupportedMediaType('send application/json: {"queries": [...]}, each a query in JSON')
    query = request.query_params.multi_items()
    parsing: Parsing = request.app.state.parsing

    def parse() -> Sequence[QueryBody | Problem]:
        documents = listed(json_document(body), "queries", settings.batch_limit)
        if documents is None:
            raise MalformedBody('the body must be a list of queries, or {"queries": [...]}')
        return each(documents, partial(query_of, query=query))

    return await parsing.run(parse, json=body, most=settings.batch_limit * parsing.query_values)


def listed(document: Any, name: str, most: int) -> list[Any] | None:
    """What a JSON document lists, itself or as its only member `name`; None if it is something else.

    Raises `BodyTooLarge` above `most`, `MalformedBody` for nothing.
    """
    found = document.get(name) if isinstance(document, dict) and len(document) == 1 else document
    if not isinstance(found, list):
        return None
    if not found:
        raise MalformedBody(f"there are no {name} in the body")
    if len(found) > most:
        raise BodyTooLarge(f"the body holds {len(found)} {name}, at most {most} may be: send several batches")
    return found


def each(documents: Sequence[Any], read: Callable[[Any], One]) -> list[One | Problem]:
    """What `read` makes of each, or the problem that it raises."""
    found = list[One | Problem]()
    for document in documents:
        try:
            found.append(read(document))
        except Problem as problem:
            found.append(problem)
    return found
