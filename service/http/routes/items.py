"""Gallery items: listed, looked up, and changed by whoever may (`service.http.changing`)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response

from index import Item, StoredItem
from service.errors import InvalidOption, ItemInvalid, Problem
from service.gallery.items import Addition, ChangedItem
from service.http import item_forms
from service.http.body import check_options
from service.http.changing import Changing, condition, tag_header
from service.http.dependencies import Service
from service.http.item_body import given, read_item, read_items, read_revision
from service.http.openapi import LOCATION_HEADER, TAG_HEADER
from service.http.problems import documented, problem_body
from service.http.schemas import ChangeBody, ChangeResult, ChangesBody, DeletedBody, ItemBody, ItemsBody

router = APIRouter()

DEFAULT_PAGE = 100
TAGGED: dict[int | str, dict[str, Any]] = {200: {"headers": TAG_HEADER}}
_CHANGES = TAGGED | documented(400, 403, 412, 413, 415, 422, 500, 503)
_ADDED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": ChangeBody,
        "description": "It was not there before.",
        "headers": TAG_HEADER | LOCATION_HEADER,
    }
}

Result = TypeVar("Result")


async def page_wanted(
    request: Request,
    retriever: Service,
    label: Annotated[str | None, Query(description="Only items with this label.")] = None,
    limit: Annotated[int | None, Query(ge=1, description="How many at a time; default 100.")] = None,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> tuple[int, int, str | None]:
    """How many items a page is to have, where it begins, and their label; raises `InvalidOption`."""
    check_options(request, "label", "limit", "cursor")
    most = retriever.settings.page_limit
    wanted = min(DEFAULT_PAGE, most) if limit is None else limit
    if wanted > most:
        raise InvalidOption(("limit", f"must be at most {most} here"))
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidOption(("cursor", "must be the `next` of the page before"))
    return wanted, int(cursor or 0), label


PageWanted = Annotated[tuple[int, int, str | None], Depends(page_wanted)]


@router.get("/gallery/items", responses=documented(422, 503))
def items(retriever: Service, page: PageWanted) -> ItemsBody:
    """A page of items, in the order of addition. One that is replaced or revised goes to the end."""
    found, following = retriever.items.page(*page)
    return page_body([one.item for one in found], following)


@router.get("/gallery/items/{item_id:path}", responses=TAGGED | documented(404, 503))
def item(item_id: str, retriever: Service, response: Response) -> ItemBody:
    """Label and metadata of an item. With its `ETag` in `If-Match` no change of another client is lost."""
    found: StoredItem = retriever.items.get(item_id)
    response.headers.update(tag_header(found.tag))
    return item_body(found.item)


@router.post(
    "/gallery/items",
    responses=_CHANGES | documented(409) | _ADDED,
    openapi_extra=item_forms.operation("NewItem", "id", "label", "metadata"),
)
async def add_items(request: Request, response: Response, retriever: Changing) -> ChangeBody | ChangesBody:
    """Add an item, or a batch: when this is answered it is durable, and the next query finds it.

    A batch is one change of the gallery, and its answer has a result for each item in its place.
    """
    sent = await read_items(request, retriever.settings)
    if isinstance(sent, Addition):
        added = await _work(
            request, lambda: retriever.items.add(sent.id, sent.label, sent.metadata, sent.image)
        )
        return _answer(request, response, added)
    version, results = await _work(request, lambda: retriever.items.add_all(sent))
    return ChangesBody(
        results=[
            ChangeResult(problem=problem_body(one))
            if isinstance(one, Problem)
            else ChangeResult(change=_change(one))
            for one in results
        ],
        version=version,
    )


@router.put(
    "/gallery/items/{item_id:path}",
    responses=_CHANGES | _ADDED,
    openapi_extra=item_forms.operation("PutItem", "label", "metadata"),
)
async def put_item(item_id: str, request: Request, response: Response, retriever: Changing) -> ChangeBody:
    """Add an item, or put it in place of the one with its id; `If-Match` and `If-None-Match` hold."""
    sent = await read_item(request, retriever.settings)
    _check_id(sent.fields.id, item_id)
    label, holds = given("label", sent.fields.label), condition(request)
    change = await _work(
        request, lambda: retriever.items.put(item_id, label, sent.fields.metadata or {}, sent.image, holds)
    )
    return _answer(request, response, change)


@router.patch(
    "/gallery/items/{item_id:path}",
    responses=_CHANGES | documented(404),
    openapi_extra=item_forms.operation("Revision"),
)
async def revise_item(item_id: str, request: Request, response: Response, retriever: Changing) -> ChangeBody:
    """Give an item another label, other metadata (all of it), or both; nothing is embedded anew."""
    wanted, holds = await read_revision(request, retriever.settings), condition(request)
    _check_id(wanted.id, item_id)
    change = await _work(
        request,
        lambda: retriever.items.revise(
            item_id, label=wanted.label, metadata=wanted.metadata, condition=holds
        ),
    )
    return _answer(request, response, change)


@router.delete("/gallery/items", responses=documented(403, 422, 503))
async def delete_items(
    request: Request,
    retriever: Changing,
    label: Annotated[str | None, Query(description="All items with this label.")] = None,
    prefix: Annotated[str | None, Query(description="All items whose id begins so.")] = None,
) -> DeletedBody:
    """Delete all items with a label, with ids that begin alike, or both, in one change."""
    check_options(request, "label", "prefix")
    if not label and not prefix:
        raise InvalidOption(("label", "give `label`, `prefix` or both: all items are not deleted at once"))
    version, count = await _work(request, lambda: retriever.items.delete_where(label or None, prefix or None))
    return DeletedBody(deleted=count, version=version)


@router.delete("/gallery/items/{item_id:path}", responses=documented(403, 404, 412, 422, 503))
async def delete_item(item_id: str, request: Request, retriever: Changing) -> DeletedBody:
    """Delete an item; `If-Match` holds."""
    check_options(request)
    holds = condition(request)
    version = await _work(request, lambda: retriever.items.delete(item_id, holds))
    return DeletedBody(deleted=1, version=version)


async def _work(request: Request, work: Callable[[], Result]) -> Result:
    """What `work` returns, on a thread for changes; it is never left half way."""
    return await to_thread.run_sync(work, limiter=request.app.state.changes)


def _check_id(given: str | None, item_id: str) -> None:
    if given not in (None, item_id):
        raise ItemInvalid("the id in the body is not that of the URL: an item keeps its id")


def page_body(found: Sequence[Item], following: int | None) -> ItemsBody:
    """A page as it is sent."""
    return ItemsBody(items=list(map(item_body, found)), next=None if following is None else str(following))


def item_body(found: Item) -> ItemBody:
    """An item as it is sent."""
    return ItemBody(id=found.id, label=found.label, metadata=found.metadata)


def _answer(request: Request, response: Response, change: ChangedItem) -> ChangeBody:
    response.headers.update(tag_header(change.tag))
    if change.outcome == "added":
        response.status_code = 201
        root = request.scope["root_path"]
        response.headers["Location"] = f"{root}/gallery/items/{quote(change.item.id)}"
    return _change(change)


def _change(change: ChangedItem) -> ChangeBody:
    return ChangeBody(
        outcome=change.outcome,
        item=item_body(change.item),
        version=change.version,
        warnings=list(change.warnings),
    )
