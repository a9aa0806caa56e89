"""`docker compose up` for real: built and started as a newcomer would, asked, killed, and watched."""

import json
import os
import re
import urllib.error
from collections.abc import Iterator

import pytest

from tests.docker.stack import (
    COMPOSE,
    EMOJI,
    ROOT,
    asked,
    asking,
    claim,
    compose,
    compose_with,
    done,
    end,
    prometheus,
    require_engine,
    retrieve,
    run,
    wait_for,
)

MEGABYTE = 2**20
DRILL = (ROOT / "docs" / "operations.md").read_text().partition("### A drill")[2].partition("###")[0]

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("TEST_DOCKER") != "1", reason="run by make test-docker"),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    require_engine()
    try:
        compose("up", "--build", "--wait")
        yield
    finally:
        end()


def test_the_stack_answers_and_keeps_to_itself(stack: None) -> None:
    first, second = retrieve(EMOJI), retrieve(EMOJI)
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
    with pytest.raises(urllib.error.HTTPError, match="404"):  # they are on a port that is not published
        asked("http://127.0.0.1:8000/metrics")


@pytest.mark.parametrize(
    ("service", "memory", "processes", "files"),
    [("api", 4096 * MEGABYTE, 1024, 4096), ("redis", 512 * MEGABYTE, 64, 1024)],
)
def test_a_container_has_limits_and_nothing_to_spare(
    stack: None, service: str, memory: int, processes: int, files: int
) -> None:
    (found,) = json.loads(done("docker", "inspect", compose("ps", "--quiet", service)))
    host = found["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (memory, processes)
    assert [(limit["Name"], limit["Hard"]) for limit in host["Ulimits"]] == [("nofile", files)]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]


def test_the_password_of_redis_is_where_it_is_needed_and_nowhere_else(stack: None) -> None:
    url = compose("exec", "api", "cat", "/run/redis-secret/url")
    password = url.removeprefix("redis://retrievalguard:").removesuffix("@redis:6379/0")
    assert len(password) == 64
    for service in ("api", "redis"):
        assert password not in done("docker", "inspect", compose("ps", "--quiet", service))
    assert password not in run(*COMPOSE, "logs").stdout
    assert password not in compose("exec", "redis", "cat", "/run/redis-secret/users.acl")


def test_redis_does_for_a_stranger_nothing_and_for_the_service_no_more_than_it_needs(stack: None) -> None:
    def told(*command: str) -> str:
        ended = run(*COMPOSE, "exec", "redis", "redis-cli", *command)
        return ended.stdout + ended.stderr

    assert told("ping").strip() == "PONG"
    assert "NOPERM" in told("get", "retrievalguard:x") + told("flushall") + told("config", "get", "*")
    url = compose("exec", "api", "cat", "/run/redis-secret/url")
    assert "NOPERM" in told("-u", url, "flushall")
    assert "NOPERM" in told("-u", url, "getrange", "of-another", "0", "1")
    assert "NOPERM" not in told("-u", url, "getrange", "retrievalguard:x", "0", "1")


KILL_THE_SERVER = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    if b"serve" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0"):
        pid != "1" and os.kill(int(pid), signal.SIGKILL)
"""


def test_both_are_killed_and_restarted_in_the_middle_of_queries(stack: None) -> None:
    with asking() as load:
        load.more(5)
        compose("kill", "redis")
        load.more(5)
        assert load.refused == 0  # without its cache the service works on
        compose("start", "redis")
        load.more(5)

        run(*COMPOSE, "exec", "api", "python", "-c", KILL_THE_SERVER)
        wait_for(lambda: load.refused > 0)
        load.more(5)  # it comes back by itself

        compose("restart", "api", "redis")
        load.more(5)
    assert load.wrong == []
    wait_for(lambda: retrieve(EMOJI)["cache"] == "hit")


def test_the_drill_of_the_documents_reads_a_backup_back(stack: None) -> None:
    commands = re.findall(r"^((?:RETRIEVALGUARD_DATA_DIR=\S+ )?retrievalguard gallery .+?)  +#", DRILL, re.M)
    assert len(commands) == 3
    listed = ""
    for command in commands:
        listed = compose("exec", "api", "sh", "-c", command)
    assert int(listed) == asked("http://127.0.0.1:8000/gallery")["size"]


def test_prometheus_reads_the_metrics_and_takes_the_rules(stack: None) -> None:
    compose_with(
        "Prometheus; PROMETHEUS_TAG names another tag",
        "--profile",
        "observability",
        "up",
        "--no-deps",
        "--wait",
        "prometheus",
    )
    wait_for(lambda: prometheus("retrievalguard_ready") == [1.0])
    assert prometheus("retrievalguard_gallery_items") == [7687.0]
    assert prometheus("retrievalguard_memory_limit_bytes") == [4096.0 * MEGABYTE]
    assert 200 * MEGABYTE < prometheus("process_resident_memory_bytes")[0] < 4096 * MEGABYTE
    wait_for(lambda: all(rule["health"] == "ok" for rule in rules()))
    written = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    assert len(rules()) == written.count("- alert:")


def rules() -> list[dict[str, str]]:
    found: list[dict[str, str]] = asked("http://127.0.0.1:9090/api/v1/rules")["data"]["groups"][0]["rules"]
    return found


def test_grafana_begins_with_the_dashboard_and_lets_nobody_in(stack: None) -> None:
    compose_with(
        "Grafana; GRAFANA_TAG names another tag",
        "--profile",
        "observability",
        "up",
        "--no-deps",
        "--wait",
        "grafana",
    )
    wait_for(lambda: asked("http://127.0.0.1:3000/api/health")["database"] == "ok")
    found = asked("http://127.0.0.1:3000/api/dashboards/uid/retrievalguard")
    assert found["dashboard"]["title"] == "RetrievalGuard"
    with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
        asked("http://127.0.0.1:3000/api/admin/settings")


def test_a_load_test_of_what_is_up_finds_nothing_wrong(stack: None) -> None:
    told = compose_with(
        "Locust; LOCUST_TAG names another tag", "run", "--rm", "load", LOAD_USERS="2", LOAD_TIME="20s"
    )
    rows = [line.split() for line in told.splitlines()]
    failures = {row[1]: row[3] for row in rows if row[:1] == ["POST"]}
    assert failures.keys() == {"Cold", "Repeat"}
    assert all(failed.startswith("0(") for failed in failures.values())
