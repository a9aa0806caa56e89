"""What clients do to a connection besides sending requests: stop, vanish, drip, never read, send too much.

Each gets a connection of its own, and leaves it as it likes. What came back is returned, if it was read.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from tests.service.queries import digit
from tests.service.raw import head

Behaviour = Callable[[socket.socket], bytes]

# How long one waits for an answer that may not come, in seconds.
PATIENCE = 5.0
IMAGE = digit(0)
HOST = b"Host: 127.0.0.1\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
QUERY = head(len(IMAGE), "image/png") + IMAGE
STREAM = QUERY.replace(b"Host:", b"Accept: text/event-stream\r\nHost:", 1)
CHUNKED = (
    b"POST /retrieve HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
)
EXPECTS = QUERY.replace(b"Host:", b"Expect: 100-continue\r\nHost:", 1)[: -len(IMAGE)]


def chunk(content: bytes) -> bytes:
    return b"%x\r\n" % len(content) + content + b"\r\n"


def read(connection: socket.socket, least: int = 1 << 20) -> bytes:
    """What comes until `least` bytes are there, the connection ends, or patience does."""
    connection.settimeout(PATIENCE)
    found = b""
    with suppress(OSError):
        while len(found) < least and (part := connection.recv(65_536)):
            found += part
    return found


def reset(connection: socket.socket) -> None:
    """Have the end of the connection be a reset rather than an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def sends(*parts: bytes, least: int = 1 << 20) -> Behaviour:
    """Send the parts one by one, say that this is all, and read."""

    def behave(connection: socket.socket) -> bytes:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return read(connection, least)

    return behave


def waits(*parts: bytes, least: int = 16) -> Behaviour:
    """Send the parts, and read without an end."""

    def behave(connection: socket.socket) -> bytes:
        for part in parts:
            connection.sendall(part)
        return read(connection, least)

    return behave


def vanishes(*parts: bytes, least: int = 0) -> Behaviour:
    """Send the parts, read a little, and be gone without a word."""

    def behave(connection: socket.socket) -> bytes:
        reset(connection)
        for part in parts:
            connection.sendall(part)
        return read(connection, least) if least else b""

    return behave


def leaves(*parts: bytes) -> Behaviour:
    """Send the parts and close, without reading."""

    def behave(connection: socket.socket) -> bytes:
        for part in parts:
            connection.sendall(part)
        return b""

    return behave


def never_reads(connection: socket.socket) -> bytes:
    """Ask for more than the buffers hold, and read nothing of it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(1)
    with suppress(OSError):
        connection.sendall(DOCUMENT * 50)
    return b""


def urgent(connection: socket.socket) -> bytes:
    """A byte out of band in the middle of a head."""
    connection.sendall(LIVEZ[:10])
    connection.send(b"!", socket.MSG_OOB)
    connection.sendall(LIVEZ[10:])
    return read(connection, 16)


def asks_before_it_sends(connection: socket.socket) -> bytes:
    """A body that waits for `100 Continue`."""
    connection.sendall(EXPECTS)
    found = read(connection, 16)
    connection.sendall(IMAGE)
    return found + read(connection, 200)


def one_after_another(connection: socket.socket) -> bytes:
    """Many requests on one connection, each after the answer to the one before; and then gone."""
    reset(connection)
    found = b""
    for _ in range(20):
        connection.sendall(LIVEZ)
        found = read(connection, 16)
    return found


def bytewise(content: bytes) -> list[bytes]:
    return [content[number : number + 1] for number in range(len(content))]


BEHAVIOURS: dict[str, Behaviour] = {
    "connects and leaves": leaves(),
    "connects and vanishes": vanishes(),
    "says only that it says nothing": sends(),
    "half a head, then leaves": leaves(LIVEZ[:20]),
    "half a head, then vanishes": vanishes(LIVEZ[:20]),
    "half a head, then the end": sends(LIVEZ[:20]),
    "no body, then leaves": leaves(QUERY[: -len(IMAGE)]),
    "half a body, then leaves": leaves(QUERY[:-40]),
    "half a body, then vanishes": vanishes(QUERY[:-40]),
    "half a body, then the end": sends(QUERY[:-40]),
    "a query, then leaves": leaves(QUERY),
    "a query, then vanishes": vanishes(QUERY),
    "a query, then the end, then reads": sends(QUERY, least=200),
    "reads a byte of its answer, then vanishes": vanishes(QUERY, least=1),
    "a stream, then vanishes": vanishes(STREAM),
    "reads a byte of a stream, then vanishes": vanishes(STREAM, least=1),
    "never reads": never_reads,
    "a head byte by byte": waits(*bytewise(LIVEZ)),
    "a body byte by byte": waits(head(len(IMAGE), "image/png"), *bytewise(IMAGE), least=200),
    "a hundred requests at once": waits(LIVEZ * 100, least=10_000),
    "a hundred requests at once, then vanishes": vanishes(LIVEZ * 100),
    "queries at once, then vanishes": vanishes(QUERY * 10),
    "chunks of one byte": waits(CHUNKED, *map(chunk, bytewise(IMAGE)), b"0\r\n\r\n", least=200),
    "a chunk that is shorter than it says": sends(CHUNKED, b"ffff\r\n" + IMAGE),
    "chunks without an end": leaves(CHUNKED, chunk(IMAGE)),
    "chunks without an end, then vanishes": vanishes(CHUNKED, chunk(IMAGE)),
    "a chunk of no number": sends(CHUNKED, b"xyz\r\n" + IMAGE),
    "chunks beyond every limit": waits(CHUNKED, *[chunk(bytes(1 << 20))] * 12),
    "more body than it said": sends(head(10, "image/png") + IMAGE, least=200),
    "chunks, and a length": sends(CHUNKED.replace(b"Host:", b"Content-Length: 5\r\nHost:", 1), chunk(IMAGE)),
    "asks before it sends": asks_before_it_sends,
    "asks before it sends, and does not": leaves(EXPECTS),
    "another protocol": sends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "the next version": sends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    "urgent bytes": urgent,
    "lines without returns": waits(LIVEZ.replace(b"\r", b"")),
    "returns without lines": sends(LIVEZ.replace(b"\n", b"")),
    "a header without an end": waits(b"GET /livez HTTP/1.1\r\nLong: ", *[b"x" * 65_536] * 4),
    "headers without an end": waits(b"GET /livez HTTP/1.1\r\n", *[b"H: x\r\n" * 5_000] * 4),
    "zeros": waits(bytes(100_000)),
    "one request after another, then vanishes": one_after_another,
    "an answer's worth of nonsense after a query": sends(QUERY, b"\x00\xff" * 5_000, least=200),
}  # fmt: skip
