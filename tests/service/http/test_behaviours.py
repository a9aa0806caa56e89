"""Clients that do forty things a client should not, one by one and by the hundred: others are answered."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.service.behaviours import BEHAVIOURS
from tests.service.processes import Server, wait_for
from tests.service.queries import answer, claims, digit
from tests.service.raw import alive, connect

HUNDREDS, AT_ONCE = 120, 60


def behave(server: Server, name: str) -> bytes:
    """What it got; a connection that the server ended is no failure of anybody's."""
    with suppress(ConnectionError, BrokenPipeError), connect(server.url) as connection:
        return BEHAVIOURS[name](connection)
    return b""


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_whatever_a_client_does_others_are_answered_and_nothing_is_left_of_it(rough_server: Server) -> None:
    server = rough_server
    expected = claims(answer(server.client, digit(0)))
    alive(server.url)
    before = descriptors(server)
    assert len(BEHAVIOURS) >= 30
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(BEHAVIOURS, pool.map(lambda name: behave(server, name), BEHAVIOURS), strict=True))
    assert not [name for name, got in found.items() if b"HTTP/1.1 500" in got]
    # They are what they are meant to be.
    assert found["a head byte by byte"].startswith(b"HTTP/1.1 200")
    assert found["a body byte by byte"].startswith(b"HTTP/1.1 200")
    assert found["chunks of one byte"].startswith(b"HTTP/1.1 200")
    assert found["asks before it sends"].startswith(b"HTTP/1.1 100")
    assert found["a hundred requests at once"].count(b"HTTP/1.1 200") >= 20
    assert found["chunks beyond every limit"].startswith(b"HTTP/1.1 413")
    assert found["a header without an end"].startswith(b"HTTP/1.1 4")
    # By the hundred, and a client that behaves beside them.
    chance = random.Random(1)
    names = [chance.choice(list(BEHAVIOURS)) for _ in range(HUNDREDS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        crowd = [pool.submit(behave, server, name) for name in names]
        for _ in range(5):
            assert claims(answer(server.client, digit(0))) == expected
        assert not [name for name, one in zip(names, crowd, strict=True) if b"HTTP/1.1 500" in one.result()]
    assert claims(answer(server.client, digit(0))) == expected
    wait_for(lambda: descriptors(server) <= before + 2)
    assert "Traceback" not in server.log.read_text()
