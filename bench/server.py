"""A real server for a benchmark: the process `retrievalguard serve --demo`, in a folder of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The first start embeds the demo gallery, which takes a minute or more on a busy machine.
START_SECONDS = 300
# Longer than the server's own grace for the queries it is answering.
STOP_SECONDS = 20


class ServerFailure(Exception):
    """The server did not start; the message ends with its log."""


@contextmanager
def demo_server() -> Iterator[str]:
    """The URL of a ready server on an empty data folder; stopped, and the folder removed, at the end.

    Further settings come from the environment, as always.
    """
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        log, port = Path(folder) / "server.log", _free_port()
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(Path(folder) / "data")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("retrievalguard"), "serve", "--demo"],
                env=os.environ | {f"RETRIEVALGUARD_{name}": value for name, value in settings.items()},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailure(f"the server ended with status {process.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ServerFailure(f"the server was not ready within {START_SECONDS} s:\n{log.read_text()}")
