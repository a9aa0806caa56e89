"""`docker compose up` for real: one image, built and started as a newcomer would, and asked for answers."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMPOSE = ("docker", "compose", "-p", "retrievalguard-test")
EMOJI = ROOT / "docs" / "examples" / "emoji-twemoji-panda.png"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("TEST_DOCKER") != "1", reason="run by make test-docker"),
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def compose(*arguments: str) -> str:
    done = run(*COMPOSE, *arguments)
    assert done.returncode == 0, f"docker compose {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def require_engine() -> None:
    for command in (("docker", "info"), ("docker", "compose", "version")):
        try:
            done = run(*command)
        except FileNotFoundError:
            pytest.skip("there is no docker command")
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            pytest.skip(f"{' '.join(command)} failed: {lines[-1] if lines else 'it says nothing'}")


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    require_engine()
    try:
        compose("up", "--build", "--wait")
        yield
    finally:
        # Shown by pytest where something failed: afterwards the containers are gone.
        print(run(*COMPOSE, "logs", "--no-color", "--tail", "100").stdout)
        print(run(*COMPOSE, "down", "-v").stderr)


def retrieve() -> dict[str, Any]:
    request = urllib.request.Request(
        "http://127.0.0.1:8000/retrieve", EMOJI.read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200
        answer: dict[str, Any] = json.load(response)
    return answer


def claim(answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return answer["neighbor"], answer["certificate"]


def test_the_stack_answers_keeps_to_itself_and_outlives_its_cache(stack: None) -> None:
    first, second = retrieve(), retrieve()
    assert first["certificate"]["status"] == "certified"
    assert (first["cache"], second["cache"]) == ("miss", "hit")
    assert claim(second) == claim(first)

    assert compose("exec", "api", "id", "-u") == "10001"
    services = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    published = {
        service["Service"]: {port["PublishedPort"] for port in service["Publishers"] or []} - {0}
        for service in services
    }
    assert published == {"api": {8000}, "redis": set()}

    compose("kill", "redis")
    without = retrieve()
    assert without["cache"] == "miss"
    assert claim(without) == claim(first)
