"""Reading and parsing bodies: in bounded time, in bounded memory, and on threads of their own.

All of it happens before a query is admitted, so that whoever sends bodies pays for them, and nobody else.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.types import Message, Receive

from service.errors import BodyTooLarge, Overloaded, RequestTimeout

# What a JSON body may hold besides the numbers of its pixels: options, and commas inside of strings.
OTHER_VALUES = 1_000

Parsed = TypeVar("Parsed")

# An upload that comes more slowly on the whole, in bytes a second, is cut off.
SLOWEST_UPLOAD = 100_000


class Bodies:
    """The bodies of all requests not answered yet: at most `most` bytes, each body read within `seconds`."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are in memory now."""
        return self._held

    @contextmanager
    def counted(self, receive: Receive, *, streamed: bool = False) -> Iterator[Receive]:
        """A `receive` for the body of one request, whose bytes count until the end of the block.

        streamed   the route writes them away as they come: each part has its time, and counts until the next;
                   the whole has as much time more as `SLOWEST_UPLOAD` gives it

        It raises `RequestTimeout` when the body is not there in time, and `Overloaded` when there is no room.
        """
        loop = asyncio.get_running_loop()
        last = deadline = loop.time() + self._seconds
        mine, whole = 0, False

        async def read() -> Message:
            nonlocal last, deadline, mine, whole
            if whole:  # what comes now is that the client leaves, whenever that is
                return await receive()
            if streamed:
                self._held -= mine
                last += mine / SLOWEST_UPLOAD
                mine, deadline = 0, min(loop.time() + self._seconds, last)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout(
                    f"the body was not there within {self._seconds:g} seconds: send a smaller one, or faster"
                ) from error
            size = len(message.get("body", b""))
            if self._held + size > self._most:
                raise Overloaded(
                    "too many bytes of other requests are being read: try again later", retry_after=1
                )
            self._held += size
            mine += size
            whole = not message.get("more_body", False)
            return message

        try:
            yield read
        finally:
            self._held -= mine


class Parsing:
    """Parses bodies on `threads` threads. JSON may hold what an input of `input_shape` and a filter of
    `filter_values` need, and no more.

    The scanner of JSON holds the interpreter's lock for a whole document, so few at a time are the fastest,
    and the number of values bounds how long everything else waits.
    """

    def __init__(self, threads: int, input_shape: tuple[int, ...], filter_values: int) -> None:
        self._limiter = CapacityLimiter(threads)
        self._input_shape = input_shape
        self._most_values = prod(input_shape) + filter_values + OTHER_VALUES

    @property
    def query_values(self) -> int:
        """How many values a query may hold."""
        return self._most_values

    async def run(self, parse: Callable[[], Parsed], json: bytes = b"", most: int | None = None) -> Parsed:
        """What `parse` returns or raises. `json`: the body, if it is JSON; `most`: values that it may hold.

        Raises `BodyTooLarge` if it may hold more than that, or than a query; this costs a scan, not a parse.
        """

        def checked() -> Parsed:
            values = json.count(b",") + json.count(b"[") + json.count(b"{")
            if most is not None and values > most:
                raise BodyTooLarge(
                    f"the JSON body holds about {values} values, at most {most} may be: send fewer at a time"
                )
            if most is None and values > self._most_values:
                raise BodyTooLarge(
                    f"the JSON body holds about {values} values: one query has `pixels` of the shape"
                    f" {self._input_shape}, or an `image`, and options"
                )
            return parse()

        return await to_thread.run_sync(checked, limiter=self._limiter, abandon_on_cancel=True)
