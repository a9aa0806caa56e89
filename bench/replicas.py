"""A real cluster, for benchmarks and tests: started by the command that a user types, and its processes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.server import EXECUTABLE, launched

HELD_SECONDS = 0.3
# The processes of a cluster are known by this in their environment: it names its log.
MARK = "CLUSTER_OF_PROCESS"


@dataclass(frozen=True)
class RayCluster:
    """A running `retrievalguard cluster`: where it answers, and where its Ray is."""

    url: str
    address: str
    environment: Mapping[str, str]
    log: Path

    def update(self, *options: str, **changed: str) -> "subprocess.Popen[bytes]":
        """The command again, under way, with the address, other `options`, and a changed environment.

        Its log is beside the other, `.update`.
        """
        with self.log.with_suffix(".update").open("wb") as log:
            return subprocess.Popen(
                [EXECUTABLE, "cluster", *options, "--address", self.address],
                env={**self.environment, **changed},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def pids(self, kind: str) -> set[int]:
        """The processes of its replicas of a `kind`: Api or Sampler."""
        return set(self._named(kind))

    def ready(self, kind: str) -> set[int]:
        """Those of them that do not start any more.

        Between its making and its start a replica of Serve has for a moment the name that it has afterwards:
        it has begun when it has loaded the library of its network.
        """
        return {
            pid
            for pid, name in self._named(kind).items()
            if not re.search(r"\.(__init__|initialize)", name)
            and ("ServeReplica" not in name or _has_torch(pid))
        }

    def _named(self, kind: str) -> dict[int, str]:
        found = {}
        mark = f"{MARK}={self.environment[MARK]}\0".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                name = (place / "cmdline").read_bytes().decode(errors="replace")
                if re.match(rf"ray::.*\b{kind}\b", name) and mark in (place / "environ").read_bytes():
                    found[int(place.name)] = name
        return found

    def kill(self, kind: str, number: int = 0) -> int:
        """SIGKILL for the replica of that number, with work in its hands; its process.

        It is stopped for a moment before: what it has taken by then it will never answer.
        """
        found = sorted(self.pids(kind))
        process = found[number % len(found)]
        os.kill(process, signal.SIGSTOP)
        time.sleep(HELD_SECONDS)
        os.kill(process, signal.SIGKILL)
        return process


def _has_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # it ended meanwhile
        return False


@contextmanager
def ray_cluster(environment: Mapping[str, str], log: Path, *options: str) -> Iterator[RayCluster]:
    """`retrievalguard cluster` with these options, ready; ended at the end."""
    marked = {**environment, MARK: str(log)}
    with launched([EXECUTABLE, "cluster", *options], marked, log) as (_, url):
        address = re.findall(r"--address ([\w.:]+)\)", log.read_text())[-1]
        yield RayCluster(url, address, marked | {"RETRIEVALGUARD_PORT": url.rpartition(":")[2]}, log)
