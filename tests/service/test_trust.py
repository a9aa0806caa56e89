"""A whole life of the service: no connection that settings do not name, no file outside the data folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import certify
import models.noise
from tests.service.processes import RedisServer, copy_gallery, environment
from tests.service.queries import digit

# Everything that Python itself or a library asks of the network, and every process that could ask for it.
WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
WATCHED += ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

LIFE = f"""
import json, os, sys
seen = []

def watch(event, arguments):
    if event in {WATCHED!r}:
        seen.append([event, repr(arguments[1 if event == "socket.connect" else 0])])
    elif event == "open" and isinstance(arguments[0], str) and arguments[2] & {WRITES}:
        seen.append(["write", os.path.abspath(arguments[0])])
    elif event == "os.mkdir":
        seen.append(["write", os.path.abspath(arguments[0])])

sys.addaudithook(watch)
from service.process import own_process
from service.retriever import Retriever
own_process()
retriever = Retriever.open()
answer = retriever.retrieve(sys.stdin.buffer.read())
retriever.close()
sys.stdout.write(json.dumps([answer.certificate.status, seen]))
"""


def life(data: Path, home: Path, **settings: object) -> list[list[str]]:
    """What a service on the folder `data` did, from its start to its end: events and what they were about."""
    home.mkdir()
    surroundings = environment(data, **settings) | {"HOME": str(home)}
    for name in [name for name in surroundings if name.startswith(("CI", "XDG_", "DO_NOT_TRACK"))]:
        del surroundings[name]  # some libraries report nothing in a CI job
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIFE],
        env=surroundings,
        cwd=home,
        input=digit(5),
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    status, seen = json.loads(done.stdout)
    assert status == "certified"
    return [[str(part) for part in event] for event in seen]


@pytest.mark.parametrize("measured", [True, False], ids=["first start", "later start"])
def test_without_redis_nothing_is_connected_and_nothing_written_outside_the_data_folder(
    tmp_path: Path, demo_gallery: Path, measured: bool
) -> None:
    data, home = copy_gallery(demo_gallery, tmp_path / "data"), tmp_path / "home"
    if measured:  # every way to run the network is tried, OpenVINO's among them
        (data / "calibration.json").unlink()
    seen = life(data, home)
    written = {place for event, place in seen if event == "write"}
    assert [event for event in seen if event[0] != "write"] == []
    assert written, "the hook sees nothing"
    outside = [place for place in written if not Path(place).is_relative_to(data)]
    # Where numba keeps what it compiled of certificates and noise, as Python does: beside the source.
    compiled = {str(Path(str(of.__file__)).parent / "__pycache__") for of in (certify, models.noise)}
    assert set(outside) <= {"/dev/null"} | compiled
    assert list(home.iterdir()) == []


def test_with_redis_nothing_else_is_connected(
    tmp_path: Path, demo_gallery: Path, redis_server: RedisServer
) -> None:
    data, home = copy_gallery(demo_gallery, tmp_path / "data"), tmp_path / "home"
    seen = life(data, home, REDIS_URL=redis_server.url)
    named = {event: place for event, place in seen if event != "write"}
    assert named.keys() == {"socket.getaddrinfo", "socket.connect"}
    assert {place for event, place in seen if event == "socket.connect"} == {
        repr(("127.0.0.1", redis_server.port))
    }
    assert {place for event, place in seen if event == "socket.getaddrinfo"} == {repr("127.0.0.1")}
    assert list(home.iterdir()) == []
