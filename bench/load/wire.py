"""HTTP/1.1 as a load test needs it: kept connections, whole bodies of a stated length, and little else.

Clients share the machine with the server that they measure. A request costs httpx 5 to 10 ms of a core where
a hundred are under way, and this a tenth of a millisecond: with httpx, clients took from an overloaded server
what they then found missing.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

# Connections that wait to be used again.
KEPT = 256

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WireError(Exception):
    """No whole response came."""


@dataclass(frozen=True)
class Response:
    """What came back; names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body, for messages."""
        return self.content.decode("utf-8", "replace")


class Connections:
    """Connections to the server at `url` (http), as many as there are requests under way."""

    def __init__(self, url: str, seconds: float) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), address.port or 80
        self._seconds = seconds
        self._kept: deque[_Streams] = deque()

    async def request(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> Response:
        """Send a request and read its response; raises `WireError`, after so many seconds at the latest.

        A server may end a kept connection in the moment in which it is used again: then another is taken.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode("latin-1")
        try:
            async with asyncio.timeout(self._seconds):
                while (streams := self._kept_one()) is not None:
                    with suppress(ConnectionError, asyncio.IncompleteReadError):
                        return await self._exchange(streams, head + content)
                streams = await asyncio.open_connection(self._host, self._port)
                return await self._exchange(streams, head + content)
        # No answer in time is an OSError as well.
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise WireError(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, streams: _Streams, request: bytes) -> Response:
        reader, writer = streams
        whole = False
        try:
            writer.write(request)
            response = await _response(reader)
            whole = response.headers.get("connection") != "close"
            return response
        finally:
            if whole and len(self._kept) < KEPT:
                self._kept.append(streams)
            else:
                writer.close()

    def close(self) -> None:
        """Close those that are kept."""
        while self._kept:
            self._kept.pop()[1].close()

    def _kept_one(self) -> _Streams | None:
        """One that is open still, if there is any."""
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None


async def _response(reader: asyncio.StreamReader) -> Response:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    status = int(first.split(" ", 2)[1])
    length = 0 if status == 204 else int(headers["content-length"]) if "content-length" in headers else None
    if length is None:
        raise ValueError("the response has no Content-Length")
    return Response(status, headers, await reader.readexactly(length))
