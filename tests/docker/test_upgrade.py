"""A volume of the release before, taken over by this one.

    TEST_DOCKER=1 TEST_DOCKER_BEFORE=IMAGE pytest -m docker tests/docker/test_upgrade.py

IMAGE is one of the release before, built in its checkout: `docker build -f docker/Dockerfile -t IMAGE .`
"""

import json
import os
from collections.abc import Iterator

import pytest

from tests.docker.stack import PROJECT, ROOT, asked, compose, done, end, require_engine, retrieve, run

BEFORE = os.environ.get("TEST_DOCKER_BEFORE", "")
EXAMPLES = ROOT / "docs" / "examples"
DIGIT = "digits-0039.png"
VOLUME = f"{PROJECT}_data"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("TEST_DOCKER") != "1", reason="run by make test-docker"),
    pytest.mark.skipif(not BEFORE, reason="TEST_DOCKER_BEFORE names no image of the release before"),
]


@pytest.fixture
def volume() -> Iterator[None]:
    """A volume that compose takes for its own."""
    require_engine()
    try:
        labels = (f"com.docker.compose.project={PROJECT}", "com.docker.compose.volume=data")
        done("docker", "volume", "create", *(f"--label={label}" for label in labels), VOLUME)
        yield
    finally:
        end()
        run("docker", "volume", "rm", VOLUME)


def before(*command: str) -> str:
    """What a command of the release before prints, with the volume as its data folder."""
    mounts = (f"--volume={VOLUME}:/data", f"--volume={EXAMPLES}:/examples:ro")
    model = "--env=RETRIEVALGUARD_MODEL=digits-cnn"
    return done("docker", "run", "--rm", *mounts, model, BEFORE, "retrievalguard", *command)


def test_a_volume_of_the_release_before_is_taken_over_with_all_that_is_in_it(volume: None) -> None:
    before("gallery", "add", "digits")
    listed = before("gallery", "list").splitlines()
    answered = json.loads(before("retrieve", f"/examples/{DIGIT}"))

    compose("up", "--build", "--wait", RETRIEVALGUARD_MODEL="digits-cnn")
    assert compose("exec", "api", "retrievalguard", "gallery", "list").splitlines() == listed
    assert asked("http://127.0.0.1:8000/gallery")["size"] == len(listed) == 600
    answer = retrieve(EXAMPLES / DIGIT)
    assert answer["certificate"]["status"] == answered["certificate"]["status"] == "certified"
    for member in ("id", "label"):
        assert answer["neighbor"][member] == answered["neighbor"][member]
