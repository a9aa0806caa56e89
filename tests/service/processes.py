"""Real processes for the tests: the server, the command line, and a Redis that can be killed and stopped."""

import io
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import redis

from bench.server import EXECUTABLE, RedisProcess, launched
from index import GalleryStore
from index.names import delete_name, names
from models import Calibration, EmbeddingModel
from retrievalguard.cli import main
from service.retriever import Retriever
from service.settings import Settings

SECRET = "a secret that only the tests know"
SAMPLES = 256
# For tests of what is cached: on a machine that does other things as well, Redis may be late.
PATIENCE_MS = 200

# One chunk for each gallery item: the demo gallery is there within seconds.
SETTINGS = {"GALLERY_SAMPLES": "256", "SAMPLES": str(SAMPLES), "SECRET": SECRET, "PORT": "0"}


def environment(data: Path, **settings: object) -> dict[str, str]:
    """Of a process on the folder `data`: SAMPLES=512 sets RETRIEVALGUARD_SAMPLES, None leaves one unset.

    Whatever the tests themselves are told, what it compiles it keeps, so that the next one starts sooner.
    """
    given: dict[str, object] = SETTINGS | {"DATA_DIR": data} | settings
    servers = ("REDIS_URL", "DATABASE_URL")
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        name if name in servers else f"RETRIEVALGUARD_{name}": str(value)
        for name, value in given.items()
        if value is not None
    }


# How the network is run best is measured at the first start on a folder, which takes ten seconds: what the
# first one of a test run found is given to the folders of all others.
_measured: list[bytes] = []


def measure_once(data: Path, settings: Mapping[str, object]) -> None:
    """Take over what was measured in the folder `data`, or give it what was measured before.

    Not where the `settings` name a VARIANT: then only that one is measured.
    """
    file = data / "calibration.json"
    if "VARIANT" in settings:
        return
    if file.exists() and not _measured:
        _measured.append(file.read_bytes())
    elif _measured and not file.exists() and data.exists():
        file.write_bytes(_measured[0])


def run_as(variant: str, data: Path) -> Path:
    """The folder `data`, where VARIANT=`variant` of digits-cnn has nothing to measure any more."""
    data.mkdir(parents=True, exist_ok=True)
    fixed = Calibration.fixed(EmbeddingModel.load("digits-cnn"), variant, batch=1)
    (data / "calibration.json").write_text(fixed.model_dump_json())
    return data


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll until `condition` holds; fails when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing came of it within {seconds} s"
        time.sleep(0.02)


@dataclass
class Server:
    """A running `retrievalguard serve`."""

    process: "subprocess.Popen[bytes]"
    url: str
    data: Path
    log: Path
    client: httpx.Client

    def metric(self, name: str, **labels: str) -> float:
        """One value from /metrics; 0 if it is not there yet."""
        for line in self.client.get("/metrics").text.splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name and dict(re.findall(r'(\w+)="(.*?)"', found[2] or "")) == labels:
                return float(found[3])
        return 0.0

    def terminate(self, seconds: float = 20) -> int:
        """SIGTERM; the exit status."""
        self.client.close()
        self.process.terminate()
        return self.process.wait(seconds)


@contextmanager
def serving(data: Path, *arguments: str, files: int | None = None, **settings: object) -> Iterator[Server]:
    """A server on the folder `data`, ready; ended at the end if it still runs.

    files  how many it may open, if fewer than usual
    """
    data.mkdir(parents=True, exist_ok=True)
    measure_once(data, settings)
    log = data / "server.log"
    limit = [] if files is None else ["prlimit", f"--nofile={files}:{files}"]
    command = [*limit, EXECUTABLE, "serve", *arguments]
    with (
        launched(command, environment(data, **settings), log) as (process, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        measure_once(data, settings)
        yield Server(process, url, data, log, client)


def copy_gallery(source: Path, data: Path) -> Path:
    """The folder `data` with a copy of the gallery in `source`, which may be in use.

    With it goes how the network is run: measured anew, another way may be the fastest, with other samples.
    """
    data.mkdir(parents=True, exist_ok=True)
    original, copy = (sqlite3.connect(folder / "gallery.sqlite3") for folder in (source, data))
    original.backup(copy)
    original.close()
    copy.close()
    calibration = source / "calibration.json"
    if calibration.exists():
        shutil.copy(calibration, data)
    return data


def emptied(server: Server) -> Server:
    """The server, without items and without named galleries."""
    store = GalleryStore(server.data / "gallery.sqlite3")
    store.delete(store.without_vector("a model that embedded nothing"))
    for name in names(store):
        delete_name(store, name)
    store.close()
    return server


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def ended(
    command: Sequence[str | Path], data: Path, surroundings: Mapping[str, str], seconds: float
) -> Finished:
    """How `command`, run in the folder `data`, ended, within so many `seconds`."""
    done = subprocess.run(
        command, env=surroundings, cwd=data, capture_output=True, text=True, timeout=seconds, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def spawn_cli(data: Path, *arguments: str, **settings: object) -> Finished:
    """`retrievalguard` with these arguments on the folder `data`, in a process of its own: takes seconds."""
    measure_once(data, settings)
    return ended([EXECUTABLE, *arguments], data, environment(data, **settings), 120)


def run_cli(data: Path, *arguments: str, **settings: object) -> Finished:
    """The same in this process, through the same `main`; an error that it does not handle is raised."""
    measure_once(data, settings)
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment(data, **settings)),
        mock.patch.object(sys, "argv", ["retrievalguard", *arguments]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Finished(status, stdout.getvalue(), stderr.getvalue())


class RedisServer(RedisProcess):
    """A real Redis that can also hang."""

    def client(self) -> "redis.Redis":
        """A client of one's own."""
        return redis.Redis(port=self.port, socket_timeout=5)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """SIGSTOP: connections stay open, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def opened(settings: Settings, **changes: Any) -> Iterator[Retriever]:
    changed = settings.model_copy(update=changes)
    measure_once(changed.data_dir, {})
    retriever = Retriever.open(changed)
    try:
        yield retriever
    finally:
        retriever.close()
