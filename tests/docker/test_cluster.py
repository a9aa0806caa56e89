"""Profile `cluster` for real: Ray's head and two workers, one of which is killed while queries come.

TEST_DOCKER=1 pytest -m docker tests/docker/test_cluster.py
"""

import os
from collections.abc import Iterator

import pytest

from tests.docker.stack import (
    COMPOSE,
    DEMO,
    DIGIT,
    POSTGRES,
    PROJECT,
    asking,
    claim,
    compose,
    compose_with,
    done,
    end,
    require_engine,
    retrieve,
    run,
    wait_for,
    wait_until_ready,
)

WORKER = f"{PROJECT}-ray-worker-1"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("TEST_DOCKER") != "1", reason="run by make test-docker"),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    require_engine()
    try:
        compose_with(
            POSTGRES, "--profile", "cluster", "up", "--build", "--detach", "ray-head", "ray-worker", **DEMO
        )
        wait_until_ready()
        compose("exec", "ray-head", "retrievalguard", "gallery", "add", "digits")
        wait_for(lambda: retrieve(DIGIT)["gallery"]["size"] == 600)
        yield
    finally:
        end()


def test_a_query_is_answered_and_its_samples_are_shared(stack: None) -> None:
    first, second = retrieve(DIGIT), retrieve(DIGIT)
    assert first["certificate"]["status"] == "certified"
    assert claim(first) == claim(second)
    assert second["cache"] == "hit"


def test_rays_token_is_made_and_told_to_nobody_else(stack: None) -> None:
    token = compose("exec", "ray-head", "cat", "/run/replica-secret/ray-token")
    assert len(token) == 64
    assert token not in run(*COMPOSE, "--profile", "cluster", "logs").stdout
    without = run(*COMPOSE, "exec", "--env=RAY_AUTH_TOKEN_PATH=/dev/null", "ray-worker", "ray", "status")
    assert without.returncode != 0


def test_queries_go_on_when_a_worker_is_killed(stack: None) -> None:
    with asking(DIGIT) as load:
        load.more(5)
        done("docker", "kill", WORKER)
        load.more(100)
        done("docker", "start", WORKER)
        load.more(5)
    assert load.wrong == []
