"""Asking a server, and what came back: every request is timed, and every answer looked at."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.load.wire import Connections, Response, WireError

# Longer than anything that is admitted may take.
PATIENCE_SECONDS = 120.0
REFUSED = frozenset({429, 503})

Claim = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request: its `kind` names what people do.

    cache    what the answer must say of the cache, if anything
    first    the claim of the first time, which this one has to repeat
    fields   those that the answer must have
    """

    kind: str
    method: str
    path: str
    content: bytes
    media: str = "image/png"
    headers: dict[str, str] = field(default_factory=dict)
    cache: str | None = None
    first: Claim | None = None
    fields: tuple[str, ...] = ("neighbor", "certificate", "gallery")


@dataclass(frozen=True)
class Came:
    """What came back after `seconds`, counted from when the request was due; it `ended` by the clock.

    status    0 if nothing came
    wrong     what is wrong with it, if anything; a refusal that says when to come back is not wrong
    wait      the seconds that a refusal says
    """

    kind: str
    status: int
    seconds: float
    ended: float
    wrong: str | None = None
    wait: int | None = None
    body: Any = None

    @property
    def good(self) -> bool:
        """Whether it is an answer, and a right one."""
        return self.wrong is None and self.status < 400


class Asking:
    """A client of one server, with as many connections as it takes."""

    def __init__(self, url: str) -> None:
        self._connections = Connections(url, PATIENCE_SECONDS)

    async def __aenter__(self) -> "Asking":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def ask(self, asked: Asked, due: float | None = None) -> Came:
        """Send it, and see what comes; `due`: when it should have been sent (`time.perf_counter`)."""
        due = time.perf_counter() if due is None else due
        try:
            response = await self._connections.request(
                asked.method, asked.path, asked.content, {"content-type": asked.media} | asked.headers
            )
        except WireError as error:
            ended = time.perf_counter()
            return Came(asked.kind, 0, ended - due, ended, str(error))
        ended = time.perf_counter()
        body, wrong = _seen(asked, response)
        told = response.headers.get("retry-after", "")
        wait = int(told) if told.isdecimal() and response.status in REFUSED else None
        return Came(asked.kind, response.status, ended - due, ended, wrong, wait, body)

    async def text(self, path: str, headers: Mapping[str, str]) -> str:
        """What is at `path`; raises `WireError`."""
        return (await self._connections.request("GET", path, b"", headers)).text

    async def content(self, asked: Asked) -> bytes:
        """The bytes of an answer; raises `WireError`."""
        headers = {"content-type": asked.media} | asked.headers
        return (await self._connections.request(asked.method, asked.path, asked.content, headers)).content

    async def until_answered(self, asked: Asked) -> Came:
        """The same, and again for as long as it is told to come back."""
        while True:
            came = await self.ask(asked)
            if came.wait is None:
                return came
            await asyncio.sleep(came.wait)


def claim(body: dict[str, Any]) -> Claim:
    """The part of an answer that must not depend on where its samples came from, or on the load."""
    return {name: body[name] for name in ("neighbor", "certificate", "gallery")}


def _seen(asked: Asked, response: Response) -> tuple[Any, str | None]:
    """The body, and what is wrong with it."""
    if response.status in REFUSED:
        told = response.headers.get("retry-after", "")
        return None, None if told.isdecimal() and int(
            told
        ) >= 1 else "refused, and not told when to come back"
    if response.status >= 400:
        return None, f"status {response.status}: {response.text[:200]}"
    if not asked.fields:
        return None, None
    try:
        body = json.loads(response.content)
        missing = [name for name in asked.fields if name not in body]
    except (ValueError, TypeError) as error:
        return None, f"no answer ({error!r}): {response.text[:200]}"
    if missing:
        return body, f"the answer lacks {', '.join(missing)}"
    if asked.cache is not None and body["cache"] != asked.cache:
        return body, f"cache is {body['cache']}, expected {asked.cache}"
    # Another version of the gallery may answer otherwise.
    same = asked.first is not None and asked.first["gallery"] == body["gallery"]
    if same and claim(body) != asked.first:
        return body, f"the claim changed from {asked.first} to {claim(body)}"
    return body, None
