"""Keys of some named galleries: which routes they reach, which galleries they ask, and what they are told.

A key without galleries reaches all that its scopes open. One with galleries reaches only what is named here,
where all that is told comes from the view of one of them. Any other route refuses it, also one that is added
later.
"""

from collections.abc import Collection

from fastapi import Request

from service.errors import Forbidden
from service.keys import Key
from service.retrieval.answer import RetrieveResponse

# The first three ask the gallery that a query names (`check_asked`); the others tell nothing of any item.
_REACHED = frozenset(
    {
        ("POST", "/retrieve"),
        ("POST", "/retrieve/batch"),
        ("POST", "/attack"),
        ("GET", "/galleries"),
        ("GET", "/model"),
        ("POST", "/model/input"),
    }
)
_BELOW = "/galleries/"


def check_route(key: Key, method: str, path: str) -> None:
    """Raise `Forbidden` if a request is about more than the galleries of `key`."""
    method = "GET" if method == "HEAD" else method
    if key.galleries is None or (method, path) in _REACHED:
        return
    if method == "GET" and path.startswith(_BELOW):
        name = path.removeprefix(_BELOW).partition("/")[0]
        if name in key.galleries:
            return
    raise Forbidden(
        f"the key {key.id} is for {_listed(key.galleries)}: read it at GET /galleries/NAME, its items at"
        " GET /galleries/NAME/items and /galleries/NAME/images, and ask it with the option `gallery`"
    )


def galleries_of(request: Request) -> Collection[str] | None:
    """The galleries that the key of `request` is for; None: all there are."""
    key: Key | None = getattr(request.state, "key", None)
    return None if key is None else key.galleries


def check_asked(request: Request, gallery: str | None) -> None:
    """Raise `Forbidden` if a query asks a `gallery` (None: all items) that its key is not for."""
    own = galleries_of(request)
    if own is not None and gallery not in own:
        raise Forbidden(f"this key is for {_listed(own)}: name it in the option `gallery`")


def told(request: Request, answer: RetrieveResponse) -> RetrieveResponse:
    """The `answer` as the key of `request` may see it: how many other items there are is not its business."""
    matching = answer.gallery.matching
    if galleries_of(request) is None or matching is None:
        return answer
    return answer.model_copy(update={"gallery": answer.gallery.model_copy(update={"size": matching})})


def _listed(galleries: Collection[str]) -> str:
    return f"the {'gallery' if len(galleries) == 1 else 'galleries'} {', '.join(galleries)} alone"
