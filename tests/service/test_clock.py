"""The clock of a running server is set an hour ahead, and two hours back: nothing is lost, nobody kept out.

Expiry, minutes of keys and the order of the cache go by the clock, which other processes share; all else is
timed by one that nobody sets.
"""

import os
import time
from pathlib import Path

import pytest

from service.keys import Keys
from tests.service.processes import copy_gallery, serving
from tests.service.queries import Json, claims, digit

HOUR = 3600
REQUESTS = 12
# Runs in the server before anything else: the clock of Python, moved by what a file says.
MOVED = """
import os, time
clock, file = time.time, os.environ["CLOCK_FILE"]
time.time = lambda: clock() + float(open(file).read())
"""


def test_a_clock_that_is_set_ahead_and_back_loses_nothing(
    tmp_path: Path, demo_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, next_clock = tmp_path / "clock", tmp_path / "next clock"
    clock.write_text("0")
    code = tmp_path / "code"
    code.mkdir()
    (code / "sitecustomize.py").write_text(MOVED)
    data = copy_gallery(demo_gallery, tmp_path / "data")
    keys = Keys(data / "keys.json")
    headers = {"x-api-key": keys.create("all", ["admin"])[1]}
    limited = {"x-api-key": keys.create("limited", ["retrieve"], requests=REQUESTS)[1]}
    monkeypatch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
    monkeypatch.setenv("CLOCK_FILE", str(clock))
    with serving(data) as server:

        def ask(**options: int) -> Json:
            response = server.client.post(
                "/retrieve", content=digit(1), params=options, headers=headers | {"content-type": "image/png"}
            )
            assert response.status_code == 200, response.text
            found: Json = response.json()
            return found

        def used_up() -> int:
            """The seconds to wait, once the limited key has nothing left of this minute."""
            for _ in range(REQUESTS + 1):
                response = server.client.get("/model", headers=limited)
            assert response.status_code == 429
            return int(response.headers["retry-after"])

        put = server.client.put("/gallery/items/clock", params={"label": "x"}, content=digit(7),
                                headers=headers | {"content-type": "image/png"})  # fmt: skip
        assert put.status_code == 201
        first = ask()
        for jump in (HOUR, -HOUR, 0):
            assert used_up() <= 60
            next_clock.write_text(str(jump))
            next_clock.replace(clock)  # never empty: the server reads it at any moment
            assert server.client.get("/model", headers=limited).status_code == 200  # another minute
            again = ask()
            assert again["cache"] == "hit"
            assert claims(again) == claims(first)
            started = time.monotonic()
            timed = ask(deadline_ms=20_000, max_samples=512)
            assert timed["certificate"]["samples"] > 0
            assert time.monotonic() - started < 20
            item = server.client.get("/gallery/items/clock", headers=headers)
            assert item.json()["label"] == "x"
            assert server.client.get("/readyz").status_code == 200
        assert server.terminate() == 0
        assert "Traceback" not in server.log.read_text()
