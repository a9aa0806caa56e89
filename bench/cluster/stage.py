"""All that a cluster is made of, on this machine: Ray on two of them, PostgreSQL and Redis; and its kills."""

import random
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machines import AGAIN_SECONDS, Machine, network, ray_head
from bench.postgres import PostgresProcess
from bench.replicas import MARK, RayCluster
from bench.server import EXECUTABLE, RedisProcess

# What Ray is to find in its environment on each machine (docs/operations.md, A cluster with Ray).
EVERYWHERE = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "retrievalguard.cluster.gate:middlewares",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_worker_niceness": "0",
}
API, SAMPLERS, SHARDS, COPIES = 2, 2, 2, 2
# Of our machine, Ray's head, and of the other one: either has room for all that is to be there.
CORES = 8
DEPLOY_SECONDS = 300
# Processes by kind, as Ray names them.
REPLICAS = {"Api": API, "Sampler": SAMPLERS, "ShardActor": SHARDS * COPIES}


@dataclass(frozen=True)
class Stage:
    """A running cluster and what it stands on."""

    cluster: RayCluster
    machine: Machine
    postgres: PostgresProcess
    redis: RedisProcess

    def kill(self, kind: str, chance: random.Random) -> set[int]:
        """SIGKILL for one of that `kind`, started again if it is a server. Processes that are gone."""
        if kind in REPLICAS:
            return {self.cluster.kill(kind, chance.randrange(REPLICAS[kind]))}
        if kind == "Ray worker":
            gone = self.machine.pids()
            self.machine.kill()
            return gone
        server = self.postgres if kind == "PostgreSQL" else self.redis
        server.kill()
        time.sleep(AGAIN_SECONDS)
        server.start()
        return set()

    def missing(self, gone: set[int]) -> str:
        """What is not there again, in words; empty if all is."""
        for kind, count in REPLICAS.items():
            if len(self.cluster.ready(kind) - gone) < count:
                return f"a process of {kind}"
        return "" if self.machine.runs(gone) else "a machine"


KINDS = (*REPLICAS, "Ray worker", "PostgreSQL", "Redis")


@contextmanager
def servers(folder: Path) -> Iterator[tuple[tuple[str, str, str], PostgresProcess, RedisProcess]]:
    """A network for another machine, and PostgreSQL and Redis where that can reach them."""
    with network() as (name, here, there):
        postgres = PostgresProcess([here])
        try:
            redis = RedisProcess(folder, here)
            try:
                yield (name, here, there), postgres, redis
            finally:
                redis.kill()
        finally:
            postgres.end()


@contextmanager
def staged(
    environment: Mapping[str, str],
    log: Path,
    place: tuple[str, str, str],
    postgres: PostgresProcess,
    redis: RedisProcess,
) -> Iterator[Stage]:
    """The cluster of `environment`, ready, deployed as on several machines."""
    name, here, there = place
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    given = {**environment, **EVERYWHERE, **token, MARK: str(log)}
    with ray_head(here, CORES, given) as head:
        machine = Machine(name, there, head, CORES, given)
        try:
            _wait(head, given)
            with log.open("wb") as output:
                replicas = ("--api", str(API), "--samplers", str(SAMPLERS))
                subprocess.run(
                    [EXECUTABLE, "cluster", "--address", head, *replicas],
                    env=given, stdout=output, stderr=subprocess.STDOUT, check=True, timeout=DEPLOY_SECONDS,
                )  # fmt: skip
            url = re.findall(r"running on (http://[\w.:]+)", log.read_text())[-1]
            yield Stage(RayCluster(url, head, given, log), machine, postgres, redis)
        finally:
            machine.end()


def _wait(head: str, environment: Mapping[str, str]) -> None:
    """Until two machines are there."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", head]
    deadline = time.monotonic() + DEPLOY_SECONDS
    while time.monotonic() < deadline:
        told = subprocess.run(
            command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if len(re.findall(r"^ 1 node_", told.stdout, re.M)) == 2:
            return
        time.sleep(0.5)
    raise TimeoutError("Ray's machines are not there: its logs are in /tmp/ray")
