"""The stack of docker-compose.yml, for real, as a project of its own: nobody's data are touched."""

import http.client
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = "retrievalguard-test"
DIGIT = ROOT / "docs" / "examples" / "digits-0039.png"
POSTGRES = "PostgreSQL; POSTGRES_TAG names another tag"
DEMO = {"RETRIEVALGUARD_MODEL": "digits-cnn"}  # the smaller one
EMOJI = ROOT / "docs" / "examples" / "emoji-twemoji-panda.png"
COMPOSE = ("docker", "compose", "--project-name", PROJECT)


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def done(*command: str, **environment: str) -> str:
    """What a command that has to succeed prints."""
    ended = run(*command, **environment)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.strip()


def compose(*arguments: str, **environment: str) -> str:
    return done(*COMPOSE, *arguments, **environment)


def compose_with(image: str, *arguments: str, **environment: str) -> str:
    """As `compose`; skips the test where there is no such image, which is nobody's fault here."""
    try:
        return compose(*arguments, **environment)
    except AssertionError as error:
        if "registry" not in str(error):
            raise
        pytest.skip(f"there is no image of {image}")


def wait_until_ready() -> None:
    """However busy the machine is: a first start measures how the network runs best."""
    wait_for(lambda: asked("http://127.0.0.1:8000/readyz")["status"] == "ok", 1200)


def require_engine() -> None:
    for command in (("docker", "info"), ("docker", "compose", "version")):
        try:
            ended = run(*command)
        except FileNotFoundError:
            pytest.skip("there is no docker command")
        if ended.returncode:
            lines = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
            pytest.skip(f"{' '.join(command)} failed: {lines[-1] if lines else 'it says nothing'}")


def end() -> None:
    """Show what pytest is to show where something failed, and leave nothing."""
    everything = (*COMPOSE, "--profile", "*")
    print(run(*everything, "logs", "--no-color", "--tail", "100").stdout)
    print(run(*everything, "down", "--volumes").stderr)


def asked(url: str, body: bytes | None = None, **headers: str) -> Any:
    """The JSON at `url`; raises what urllib raises."""
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def retrieve(image: Path) -> dict[str, Any]:
    answer: dict[str, Any] = asked(
        "http://127.0.0.1:8000/retrieve", image.read_bytes(), **{"Content-Type": "image/png"}
    )
    return answer


def prometheus(expression: str) -> list[float]:
    """The values of an expression, as Prometheus has them now."""
    query = urllib.parse.urlencode({"query": expression})
    found = asked(f"http://127.0.0.1:9090/api/v1/query?{query}")
    return [float(series["value"][1]) for series in found["data"]["result"]]


def claim(answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return answer["neighbor"], answer["certificate"]


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:  # nobody answers yet
            pass
        assert time.monotonic() < deadline, f"nothing came of it within {seconds} s"
        time.sleep(0.5)


class Asking:
    """What a thread that never stops asking got: answers, and how often nobody was there."""

    def __init__(self) -> None:
        self.answers = self.refused = 0
        self.wrong: list[object] = []
        self.stop = threading.Event()

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        before = self.answers
        wait_for(lambda: self.answers >= before + count)


@contextmanager
def asking(image: Path = EMOJI) -> Iterator[Asking]:
    """While the block runs, a client asks, and every answer has to be the one of before."""
    known = claim(retrieve(image))
    found = Asking()

    def ask() -> None:
        while not found.stop.wait(0.05):
            try:
                answer = claim(retrieve(image))
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    found.wrong.append(error)
                found.refused += 1
            except (OSError, http.client.HTTPException):
                found.refused += 1
            else:
                found.answers += 1
                if answer != known:
                    found.wrong.append(answer)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield found
    finally:
        found.stop.set()
        asker.join()
