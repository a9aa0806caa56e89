"""Requests byte by byte, as no well-behaved client would send them."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back; status 0: nothing that is HTTP, the connection was closed."""

    status: int
    headers: dict[str, str]
    body: bytes


NOTHING = Answer(0, {}, b"")


def connect(url: str, seconds: float = 30) -> socket.socket:
    """A connection to the server at `url`; waiting for it fails after so many seconds."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=seconds)


def head(length: int, media: str = "application/json", target: str = "/retrieve") -> bytes:
    """The head of a POST whose body is said to be so long."""
    lines = f"Host: 127.0.0.1\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n"
    return f"POST {target} HTTP/1.1\r\n{lines}".encode()


def alive(url: str) -> float:
    """Seconds that /livez took, on a connection of its own; it must answer 200."""
    begun = time.perf_counter()
    assert exchange(url, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET").status == 200
    return time.perf_counter() - begun


def received(connection: socket.socket, method: str = "POST") -> Answer:
    """The answer to the request that was sent; raises `TimeoutError` if there is none in time."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (HTTPException, ConnectionError):
        return NOTHING
    finally:
        response.close()


def exchange(
    url: str, request: bytes, method: str = "POST", *, seconds: float = 30, ends: bool = False
) -> Answer:
    """Send `request` on a connection of its own and read the answer. `ends`: say that nothing more comes."""
    with connect(url, seconds) as connection:
        try:
            connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # the server has answered already
        return received(connection, method)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed the connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.setblocking(True)


@contextmanager
def many(url: str, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections on each of which `first` was sent, and nothing else."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connections.append(connect(url))
            connections[-1].sendall(first)
        yield connections
    finally:
        for connection in connections:
            connection.close()
