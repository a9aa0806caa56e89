"""Who may do what: a key for every request that is not for everybody, its scope, and what it may use.

Where no key was ever made, everybody may do everything: then the service listens to this machine alone,
unless it was said that it need not.
"""

from collections.abc import Callable
from functools import partial

from anyio import to_thread
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from service.errors import Forbidden, Problem, RateLimited, Unauthorized
from service.http.probes import route_path
from service.http.problems import problem_response
from service.http.tenants import check_route
from service.keys import Key, Keys, Scope
from service.retrieval.answering import Reserve, unlimited
from service.traffic.rates import WINDOW_SECONDS, Rates, Standing

# For everybody: they tell nothing of the gallery, and orchestrators and browsers have no key at first.
PUBLIC = frozenset({"/", "/livez", "/readyz", "/docs", "/redoc", "/openapi.json"})
PUBLIC_BELOW = ("/page/", "/static-offline-docs/")
_READS = frozenset({"GET", "HEAD"})


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None if it is for everybody. What is not known here needs `admin`."""
    if path in PUBLIC or path.startswith(PUBLIC_BELOW):
        return None if method in _READS else "admin"
    first = path.removeprefix("/").partition("/")[0]  # `OPTIONS *` has a path without any
    if first in ("retrieve", "attack", "model"):
        return "retrieve"
    if first == "metrics":
        return "metrics"
    if first in ("gallery", "galleries"):
        return "gallery:read" if method in _READS else "gallery:write"
    return "admin"


class Access:
    """Checks of requests against `keys`, and what each key used up in this minute."""

    def __init__(self, keys: Keys, rates: Rates) -> None:
        self.keys, self._rates = keys, rates

    def key(self, connection: Connection) -> Key | None:
        """The key of a request, None if it needs none; raises `Unauthorized` or `Forbidden`."""
        method, path = connection["method"], route_path(connection)
        scope = needed(method, path)
        if scope is None or not self.keys.required:
            return None
        token = _token(dict(connection["headers"]))
        found = self.keys.find(token) if token else None
        if found is None:
            raise Unauthorized(
                "this needs a key, in `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
                + ("the one that was sent is not known here" if token else "none was sent")
            )
        if not found.may(scope):
            raise Forbidden(f"the key {found.id} was not made for this: it lacks {scope}", scope=scope)
        check_route(found, method, path)
        return found

    def asked(self, key: Key, count: int = 1) -> Standing | None:
        """Count requests of `key`; None if it has no limit. Raises `RateLimited`. May wait for Redis."""
        if key.requests is None:
            return None
        standing = self._rates.add(f"{key.id}:requests", count, key.requests)
        if standing.left < 0:
            raise RateLimited(
                f"this key may send {key.requests} requests a minute: come back in {standing.seconds} s",
                retry_after=standing.seconds,
            )
        return standing

    def samples(self, key: Key) -> Reserve:
        """What takes samples from what `key` may have drawn in this minute."""
        return lambda most, drawn: self._rates.reserved(f"{key.id}:samples", most, key.samples, drawn)


class Guarded:
    """Refuses requests that `access` does not let in, before their body is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        standing: Standing | None = None
        try:
            key = self._access.key(scope)
            if key is not None:
                scope.setdefault("state", {}).update(
                    key=key, samples=self._access.samples(key), asked=partial(self._access.asked, key)
                )
                if key.requests is not None:
                    standing = await to_thread.run_sync(self._access.asked, key)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return

        async def respond(message: Message) -> None:
            if standing is not None and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_headers(standing)]
            await send(message)

        await self._app(scope, receive, respond)


def samples_of(request: Request) -> Reserve:
    """What takes samples from what the key of `request` may have drawn."""
    reserve: Reserve = getattr(request.state, "samples", unlimited)
    return reserve


async def count_queries(request: Request, count: int) -> None:
    """Have a request with `count` queries count as so many of its key's; raises `RateLimited`."""
    asked: Callable[[int], object] | None = getattr(request.state, "asked", None)
    if asked is not None and count > 1:
        await to_thread.run_sync(asked, count - 1)


def _token(headers: dict[bytes, bytes]) -> str:
    """The key as it was sent, or nothing."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


def _headers(standing: Standing) -> list[tuple[bytes, bytes]]:
    """As in draft-ietf-httpapi-ratelimit-headers, version 8 and later."""
    policy = f'"requests";q={standing.limit};w={WINDOW_SECONDS}'
    left = f'"requests";r={max(standing.left, 0)};t={standing.seconds}'
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
