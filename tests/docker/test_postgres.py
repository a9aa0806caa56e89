"""Profile `postgres` for real: a gallery in a server of its own, which is killed while queries come.

TEST_DOCKER=1 pytest -m docker tests/docker/test_postgres.py
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.docker.stack import (
    COMPOSE,
    DEMO,
    DIGIT,
    POSTGRES,
    asking,
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

ITEM = "http://127.0.0.1:8000/gallery/items/test/digit"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("TEST_DOCKER") != "1", reason="run by make test-docker"),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    require_engine()
    try:
        compose_with(POSTGRES, "--profile", "postgres", "up", "--build", "--detach", "api-postgres", **DEMO)
        wait_until_ready()
        yield
    finally:
        end()


def sql(statement: str) -> str:
    return compose(
        "exec",
        "postgres",
        "psql",
        "--username=retrievalguard",
        "--tuples-only",
        "--no-align",
        f"--command={statement}",
    )


def put(key: str) -> str:
    """What became of the digit as an item of the gallery; raises what urllib raises."""
    headers = {"Content-Type": "image/png", "X-API-Key": key}
    request = urllib.request.Request(f"{ITEM}?label=3", DIGIT.read_bytes(), headers, method="PUT")
    with urllib.request.urlopen(request, timeout=60) as response:
        outcome: str = json.load(response)["outcome"]
    return outcome


def test_the_gallery_is_in_the_server_and_answers_come(stack: None) -> None:
    answer = retrieve(DIGIT)
    assert answer["certificate"]["status"] == "certified"
    assert answer["gallery"]["size"] == int(sql("select count(*) from retrievalguard.items")) == 600
    wait_for(lambda: retrieve(DIGIT)["cache"] == "hit")  # a Redis that is late is done without
    assert "gallery.sqlite3" not in compose("exec", "api-postgres", "ls", "/data").split()


def test_nobody_but_those_two_has_the_password(stack: None) -> None:
    password = compose("exec", "postgres", "cat", "/run/postgres-secret/password")
    assert len(password) == 64
    assert password in compose("exec", "api-postgres", "cat", "/run/replica-secret/url")
    for service in ("api-postgres", "postgres", "redis"):
        assert password not in done("docker", "inspect", compose("ps", "--quiet", service))
    assert password not in run(*COMPOSE, "logs").stdout
    others = run(*COMPOSE, "exec", "redis", "ls", "/run/replica-secret", "/run/postgres-secret")
    assert others.returncode != 0


def test_queries_go_on_while_the_server_is_away(stack: None) -> None:
    with asking(DIGIT) as load:
        load.more(5)
        compose("kill", "postgres")
        load.more(5)
        compose("start", "postgres")
        load.more(5)
    assert load.refused == 0
    assert load.wrong == []


def test_a_change_waits_for_the_server_and_is_there_after_both_were_killed(stack: None) -> None:
    made = compose("exec", "api-postgres", "retrievalguard", "keys", "create", "test", "--scope", "admin")
    key = made.split()[-1]

    def stored() -> bool:
        try:
            return put(key) in ("added", "unchanged")
        except urllib.error.HTTPError as error:
            if error.code not in (401, 503):  # the key is not read yet, or the server is not back yet
                raise
            return False

    wait_for(stored)
    compose("kill", "postgres")
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        put(key)
    assert int(refused.value.headers["Retry-After"]) > 0
    compose("kill", "api-postgres")
    compose("start", "postgres", "api-postgres")
    wait_until_ready()
    wait_for(stored)
    assert put(key) == "unchanged"
    assert int(sql("select count(*) from retrievalguard.items")) == 601
