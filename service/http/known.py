"""Requests that came before: answered before there is any work, as long as they would be answered the same.
Those that come back before they were told to are refused as soon.

The name of a request holds every byte that the route reads of it. What it may not change, the retriever
watches (`service.retrieval.known`); who may ask it, and how often, was decided before.
"""

import hashlib
import time

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.noise import length_prefixed
from service.errors import Problem
from service.http.observe import note_known
from service.http.probes import route_path
from service.http.problems import problem_response
from service.keys import Key
from service.retriever import Retriever

# The headers of which the route reads what is asked, and in which form it is to be answered.
_READ = frozenset({b"content-type", b"content-encoding", b"accept"})
# The event loop reads larger bodies for nobody: their name would take longer than a hit.
LARGEST = 2**18


class Known:
    """Answers `POST /retrieve` with what `retriever` knows; `route` is whose request that is."""

    def __init__(self, app: ASGIApp, retriever: Retriever, route: object) -> None:
        self._app, self._retriever, self._route = app, retriever, route
        self._largest = min(LARGEST, retriever.settings.max_body_bytes)
        self._on = retriever.settings.known_answers_bytes > 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if not (self._on and scope["type"] == "http" and self._may_be_known(scope)):
            await self._app(scope, receive, send)
            return
        read, failed = list[Message](), None

        async def again() -> Message:
            if read:
                return read.pop(0)
            if failed is not None:
                raise failed
            return await receive()

        try:
            while not read or read[-1].get("more_body", False):
                read.append(await receive())
        except Problem as problem:  # the route's to tell
            failed = problem
        name = None if failed is not None else _name(scope, read)
        response = None if name is None else self._response(scope, name)
        if response is None:
            scope["state"]["name"] = name
            await self._app(scope, again, send)
        else:
            scope["route"] = self._route
            await response(scope, receive, send)

    def _response(self, scope: Scope, name: str) -> Response | None:
        """What is answered at once: what is known, or that it is still too early."""
        started = time.perf_counter()
        try:
            known = self._retriever.known(name)
        except Problem as problem:
            return problem_response(problem)
        if known is None:
            return None
        note_known(scope, known)
        return Response(known.json(time.perf_counter() - started), media_type="application/json")

    def _may_be_known(self, scope: Scope) -> bool:
        """Whether it is a query of a body that is soon read, by who may ask all of the gallery."""
        if scope["method"] != "POST" or route_path(scope) != "/retrieve":
            return False
        key: Key | None = scope["state"].get("key")
        length = dict(scope["headers"]).get(b"content-length", b"")
        whole = length.isdigit() and int(length) <= self._largest
        return whole and (key is None or key.galleries is None)


def name_of(request: Request) -> str | None:
    """The name by which the answer to `request` may be known."""
    name: str | None = getattr(request.state, "name", None)
    return name


def _name(scope: Scope, read: list[Message]) -> str | None:
    """The digest of all that the route reads of a request; None if its body was cut off."""
    if any(message["type"] != "http.request" for message in read):
        return None
    fields = [scope["query_string"]]
    for name, value in scope["headers"]:
        if name in _READ:
            fields += [name, value]
    body = b"".join(message.get("body", b"") for message in read)
    return hashlib.sha256(length_prefixed(*fields, body)).hexdigest()
