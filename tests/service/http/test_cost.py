"""What a request costs before anything is admitted: linear in its size, whatever it holds."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from service.errors import Problem
from service.http.body import parse

PART = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
Request = tuple[str, bytes, list[tuple[str, str]]]

# Each by a number of things in it.
HOSTILE: dict[str, Callable[[int], Request]] = {
    "different keys": lambda n: (JSON, b"{" + b",".join(b'"%d":1' % i for i in range(n)) + b"}", []),
    "different keys, deeper": lambda n: (
        JSON, b'{"a":{' + b",".join(b'"%d":1' % i for i in range(n)) + b"}}", []
    ),
    "the last key twice": lambda n: (
        JSON, b"{" + b",".join(b'"%d":1' % i for i in range(n)) + b',"%d":1}' % (n - 1), []
    ),
    "objects": lambda n: (JSON, b'{"pixels":[' + b",".join([b'{"a":1}'] * n) + b"]}", []),
    "lists": lambda n: (JSON, b'{"pixels":[' + b",".join([b"[]"] * n) + b"]}", []),
    "options in the query": lambda n: ("image/png", b"x", [(str(i), "1") for i in range(n)]),
    "boundaries, nearly": lambda n: (FORM, PART + b"\r\n--b-" * n + b"\r\n--b--", []),
    "boundaries, padded": lambda n: (FORM, PART + (b"\r\n--b" + b" " * 50) * n + b"\r\n--b--", []),
    "lines of a header": lambda n: (FORM, PART[:-2] + b"a: b\r\n" * n, []),
    "folded lines": lambda n: (FORM, PART[:-2] + b"a: b\r\n " * n, []),
    "base64 in lines": lambda n: (JSON, b'{"image":"' + b"AAAA\\n" * n + b'"}', []),
    "percents": lambda n: (JSON, b'{"image":"data:,' + b"%41" * n + b'"}', []),
}  # fmt: skip


def seconds(request: Request) -> float:
    """Processor time of one parse, without looking for garbage among all that other tests left."""
    gc.freeze()
    try:
        started = time.process_time()
        with suppress(Problem):
            parse(*request)
        return time.process_time() - started
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_request_is_read_in_time_linear_in_its_size(name: str) -> None:
    few, many = HOSTILE[name](4_000), HOSTILE[name](128_000)
    # 32 times as much in 32 times the time; were it quadratic, in 1,024 times: 100 s for names in a list.
    assert seconds(many) < 200 * max(min(seconds(few) for _ in range(3)), 0.0005) + 0.5
