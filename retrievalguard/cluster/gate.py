"""What a client is told when an API replica ends before it has answered: 503, and when to ask again.

Serve's own proxy answers such a request with a bare 500, and one that finds no replica with a 503 that does
not say when to come back. In the proxies of a cluster this stands in front of that. A change may have been
made by then: 502, which is not to be sent again without a look.
"""

from collections.abc import Iterable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.problems import MEDIA_TYPE, plain_response, problem_response

RETRY_SECONDS = 1
# What changes nothing, however often it is asked.
SAFE = ("GET", "HEAD", "OPTIONS")
QUERIES = ("/retrieve", "/retrieve/batch", "/attack", "/model/input")


class Gate:
    """Turns what the proxy answers by itself, for want of a replica, into a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer it if the replica does not."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # the proxy's own health check
            await self._app(scope, receive, send)
            return
        begun = failed = False
        repeatable = _changes_nothing(scope)

        async def respond(message: Message) -> None:
            nonlocal begun, failed, repeatable
            if message["type"] == "http.response.start":
                failed = _is_the_proxys(message)
                begun = not failed
                repeatable = repeatable or message["status"] == 404  # no application yet: not done
                message["headers"] = _with_one_id(message["headers"])
            if not failed:
                await send(message)

        try:
            await self._app(scope, receive, respond)
        except Exception:
            if begun:
                raise
        if begun:
            return
        if repeatable:
            problem = NotReady(
                "the replica that this was sent to ended before it answered, or there is none: ask again",
                RETRY_SECONDS,
            )
            answer = problem_response(problem)
        else:
            answer = plain_response(
                502,
                "the replica that this was sent to ended before it answered, or there is none: it is not"
                " known whether it was done. Look, then send it again",
            )
        await answer(scope, receive, send)


def _changes_nothing(scope: Scope) -> bool:
    """Whether a request may be sent again, whatever became of it."""
    # By the end of the path: /v1 and the root path are in front of it.
    return scope["method"] in SAFE or (scope["method"] == "POST" and scope["path"].endswith(QUERIES))


def _with_one_id(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The `headers` with one id of the request: Serve's proxy adds its own, which replicas go by."""
    given = list(headers)
    ids = [each for each in given if each[0].lower() == b"x-request-id"]
    return [each for each in given if each not in ids] + ids[:1]


def _is_the_proxys(start: Message) -> bool:
    """Whether an answer is an error that is not ours: all of ours are problem documents."""
    kind = {name.lower(): value for name, value in start["headers"]}.get(b"content-type", b"")
    failed = start["status"] == 404 or start["status"] >= 500  # 404: no application yet
    return failed and not kind.startswith(MEDIA_TYPE.encode())


def middlewares() -> list[Middleware]:
    """What Serve's proxies are to put in front of themselves."""
    return [Middleware(Gate)]
