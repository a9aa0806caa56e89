"""What requests may cost before they are admitted: time, memory, connections, and files."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.processes import Server, copy_gallery, serving, wait_for
from tests.service.queries import answer, digit
from tests.service.raw import Answer, alive, connect, exchange, head, is_closed, many, received

# Generous for a machine that does other things as well; docs/log.md has what was measured.
LIVE, ANSWERED = 0.5, 5.0
KEYS, REQUESTS = 100_000, 45
CONNECTIONS, IDLE, BODY_TIMEOUT, BODIES = 40, 4, 3, 12 * 2**20
URN = "urn:retrievalguard:problem:"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path) -> Iterator[Server]:
    """A server with low limits."""
    limits = {
        "MAX_CONNECTIONS": CONNECTIONS,
        "IDLE_TIMEOUT_SECONDS": IDLE,
        "BODY_TIMEOUT_SECONDS": BODY_TIMEOUT,
        "MAX_BODIES_BYTES": BODIES,
    }
    data = copy_gallery(demo_gallery, tmp_path_factory.mktemp("narrow"))
    with serving(data, **limits) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


def problem(found: Answer) -> str:
    """The slug of a problem document."""
    assert found.headers["content-type"] == "application/problem+json"
    slug: str = json.loads(found.body)["type"].removeprefix(URN)
    return slug


def object_of(keys: list[str]) -> bytes:
    return b"{" + b",".join(f'"{key}":1'.encode() for key in keys) + b"}"


JSON, MULTIPART = "application/json", "multipart/form-data; boundary=b"
FLOODS = {
    "distinct keys": (JSON, object_of([f"k{number:06}" for number in range(KEYS)])),
    "one key": (JSON, object_of(["the same"] * KEYS)),
    "numbers": (JSON, b'{"pixels": [' + b"0.5," * 250_000 + b"0]}"),
    "brackets": (JSON, b"[" * 500_000),
    "objects in objects": (JSON, b'{"a":' * 200_000),
    "escapes": (JSON, b'{"image": "' + b"\\u0041" * 160_000 + b'"}'),
    "digits": (JSON, b'{"pixels": ' + b"1" * 1_000_000 + b"}"),
    "spaces": (JSON, b" " * 1_000_000),
    "parts": (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 20_000),
    "headers of a part": (MULTIPART, b"--b\r\n" + b"A: b\r\n" * 160_000),
    "a long header of a part": (MULTIPART, b"--b\r\nA: " + b"b" * 1_000_000),
    "no parts": (MULTIPART, b"\r\n" * 500_000),
    "almost boundaries": (
        MULTIPART,
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + b"\r\n--" * 250_000,
    ),
}


def flooded(server: Server, request: bytes) -> tuple[set[int], list[float], float]:
    """The statuses of so many requests at once; what /livez took meanwhile, and what one query took."""

    def query() -> float:
        begun = time.perf_counter()
        answer(server.client, digit(1))
        return time.perf_counter() - begun

    lives: list[float] = []
    with ThreadPoolExecutor(REQUESTS + 1) as pool:
        running = [pool.submit(exchange, server.url, request) for _ in range(REQUESTS)]
        asked = pool.submit(query)
        while not all(future.done() for future in [*running, asked]):
            lives.append(alive(server.url))
        return {future.result().status for future in running}, lives, asked.result()


@pytest.mark.parametrize("name", FLOODS)
def test_health_and_queries_are_answered_while_bodies_that_cost_much_are_refused(
    demo_server: Server, name: str
) -> None:
    media, body = FLOODS[name]
    statuses, lives, query = flooded(demo_server, head(len(body), media) + body)
    assert statuses <= {400, 413, 415, 422}
    p95 = np.quantile(lives, 0.95)
    assert p95 < LIVE
    assert query < ANSWERED


# --- time and memory of bodies


def test_a_body_that_is_not_there_in_time_is_a_408(narrow: Server) -> None:
    with connect(narrow.url) as connection:
        connection.sendall(head(1000, "image/png") + digit(0)[:10])
        begun = time.perf_counter()
        found = received(connection)
        assert (found.status, problem(found)) == (408, "request-timeout")
        assert BODY_TIMEOUT - 0.5 < time.perf_counter() - begun < BODY_TIMEOUT + 5
        # Who goes on sending what nobody reads is cut off too.
        send_until_closed(connection, b"x")
    assert answer(narrow.client, digit(0))


def test_bytes_that_drip_do_not_count_as_haste(narrow: Server) -> None:
    with connect(narrow.url) as connection:
        connection.sendall(head(1000, "image/png"))
        for _ in range(BODY_TIMEOUT * 20):
            time.sleep(0.1)
            connection.sendall(b"x")
            connection.settimeout(0.001)
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                pass
        connection.settimeout(10)
        assert received(connection).status == 408


def test_bodies_beyond_the_bytes_for_all_of_them_are_told_to_come_back(narrow: Server) -> None:
    large, most = BODIES // 2, 10 * 2**20
    with connect(narrow.url) as one, connect(narrow.url) as other:
        one.sendall(head(most, "image/png") + b"x" * large)
        other.sendall(head(most, "image/png") + b"x" * (large - 1000))
        time.sleep(0.5)
        found = exchange(narrow.url, head(len(digit(0)) + 5000, "image/png") + digit(0) + b"x" * 5000)
        assert (found.status, problem(found), found.headers["retry-after"]) == (503, "overloaded", "1")
        assert narrow.client.get("/livez").status_code == 200
        assert narrow.client.get("/model").status_code == 200
    wait_for(lambda: exchange(narrow.url, head(len(digit(0)), "image/png") + digit(0)).status == 200, 10)


# --- connections


def send_until_closed(connection: socket.socket, drip: bytes) -> None:
    def send() -> None:
        for _ in range(100):
            connection.sendall(drip)
            time.sleep(0.1)

    with pytest.raises(ConnectionError):
        send()


def test_connections_that_ask_nothing_make_room_for_others(narrow: Server) -> None:
    with many(narrow.url, 3 * CONNECTIONS) as connections:
        alive(narrow.url)
        assert not is_closed(connections[-1])
        with httpx.Client(base_url=narrow.url) as client:
            assert answer(client, digit(0))
        wait_for(lambda: sum(is_closed(connection) for connection in connections) >= 2 * CONNECTIONS, 10)
        wait_for(lambda: all(is_closed(connection) for connection in connections), 10)


@pytest.mark.parametrize("drip", [b"G", b"x: y\r\n"])
def test_a_head_that_drips_does_not_keep_a_connection(narrow: Server, drip: bytes) -> None:
    begun = time.perf_counter()
    with connect(narrow.url) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n" if b":" in drip else b"")
        send_until_closed(connection, drip)
    assert time.perf_counter() - begun < 3 * IDLE


def test_probes_are_answered_when_all_connections_are_at_work(narrow: Server) -> None:
    with many(narrow.url, CONNECTIONS, head(1000, "image/png")):
        time.sleep(0.5)
        found = exchange(narrow.url, b"GET /model HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET")
        assert (found.status, problem(found)) == (503, "overloaded")
        assert int(found.headers["retry-after"]) > 0
        for probe in ("livez", "readyz", "metrics"):
            asked = f"GET /{probe} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            assert exchange(narrow.url, asked, "GET").status == 200
    wait_for(lambda: narrow.client.get("/model").status_code == 200, 10)


# --- files


def test_running_out_of_files_is_told_once_and_ends_when_there_are_some_again(narrow: Server) -> None:
    before = len(narrow.log.read_text())
    process = narrow.process.pid
    usual = resource.prlimit(process, resource.RLIMIT_NOFILE)
    opened = {int(path.name) for path in Path(f"/proc/{process}/fd").iterdir()}
    three_more = [number for number in range(max(opened) + 4) if number not in opened][2] + 1
    try:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (three_more, usual[1]))
        with many(narrow.url, 30):
            time.sleep(2.5)  # asyncio tries again every second
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, usual)
    alive(narrow.url)  # as soon as asyncio tries again
    said = narrow.log.read_text()[before:]
    assert said.count("no connection can be taken") == 1
    assert said.count("\n") < 10
    assert answer(narrow.client, digit(0))


def test_few_files_mean_few_connections(tmp_path: Path, demo_gallery: Path) -> None:
    files = 160
    copy_gallery(demo_gallery, tmp_path)
    with serving(tmp_path, files=files, IDLE_TIMEOUT_SECONDS=IDLE) as server:
        said = server.log.read_text()
        assert f"only {files} files may be open" in said
        with many(server.url, 240):
            assert answer(server.client, digit(0))
            assert alive(server.url)
        assert "no connection can be taken" not in server.log.read_text()
