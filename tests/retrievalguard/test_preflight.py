"""A mistake is told in a line, before torch is loaded: settings, folders, port and output files."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from retrievalguard import preflight
from tests.service.processes import Finished, environment

# Runs the command line, and ends with what it ended with, or with 99 if it loaded torch for that.
WATCHED = """
import sys
from retrievalguard.__main__ import main
try:
    main()
except SystemExit as end:
    sys.exit(99 if "torch" in sys.modules else end.code)
"""


def watched(data: Path, *arguments: str, **settings: object) -> Finished:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=environment(data, **settings),
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "said"),
    [
        (["serve"], {"ALPHA": 2}, 2, "RETRIEVALGUARD_ALPHA"),
        (["serve"], {"VARIANT": "fastest"}, 2, "openvino-int8"),
        (["serve"], {"REDIS_URL": "redis://"}, 2, "REDIS_URL: has no host"),
        (["serve"], {"MODEL": "no-such-model"}, 1, "no-such-model"),
        (["serve"], {"DATA_DIR": "/dev/null/data"}, 1, "/dev/null/data"),
        (["serve"], {"HOST": "203.0.113.1"}, 1, "RETRIEVALGUARD_HOST"),
        (["retrieve", __file__], {"MODEL": "no-such-model"}, 1, "no-such-model"),
        (["gallery", "list"], {"DATA_DIR": "/dev/null/data"}, 1, "/dev/null/data"),
        (["evaluate", "--plot", "x.xyz"], {}, 1, ".png, .svg, .pdf"),
        (["evaluate", "--plot", "missing/x.png"], {}, 1, "missing"),
        (["evaluate", "--json", "missing/x.json"], {}, 1, "missing"),
        (["evaluate", "--json", "."], {}, 1, "folder"),
        (["evaluate"], {"MODEL": "no-such-model"}, 1, "no-such-model"),
        (["train", "--data", "digits", "--sigma", "0.1", "--output", __file__], {}, 1, "not a folder"),
        (["train", "--data", "digits", "--sigma", "0.1", "--output", f"{__file__}/x"], {}, 1, "not a folder"),
    ],
)
def test_it_is_told_in_one_line_before_torch_is_loaded(
    tmp_path: Path, arguments: list[str], settings: dict[str, object], status: int, said: str
) -> None:
    refused = watched(tmp_path / "data", *arguments, **settings)
    assert refused.returncode == status, refused.stderr
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""


def test_a_port_that_is_taken_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = watched(tmp_path / "data", "serve", PORT=port)
    assert refused.returncode == 1
    assert f"port {port} (Address already in use)" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_port_that_is_bound_is_nobody_elses_and_refuses_until_it_listens() -> None:
    (first,) = preflight.listening("127.0.0.1", 0)
    with closing(first):
        port = first.getsockname()[1]
        with pytest.raises(preflight.CheckError, match=str(port)):
            preflight.listening("127.0.0.1", port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_connections_that_are_over_do_not_hold_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first is the one that waits
        client.close()
    (again,) = preflight.listening("127.0.0.1", port)
    with closing(again):
        again.listen()
        assert again.getsockname()[1] == port


def test_all_addresses_of_a_name_have_the_same_port() -> None:
    sockets = preflight.listening("localhost", 0)
    try:
        assert len({found.getsockname()[1] for found in sockets}) == 1
    finally:
        for found in sockets:
            found.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_ipv6_address_is_taken() -> None:
    (found,) = preflight.listening("::1", 0)
    with closing(found):
        assert found.family == socket.AF_INET6
        assert found.getsockname()[1] > 0


def test_a_folder_for_output_may_be_made_later(tmp_path: Path) -> None:
    preflight.check_output_folder(tmp_path / "new" / "deep", "--output")
    assert os.listdir(tmp_path) == []
    preflight.check_output(tmp_path / "new.png", "--plot", preflight.PLOTS)
    assert os.listdir(tmp_path) == []
