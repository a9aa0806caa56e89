"""A machine of Ray on this one, in a network of its own, that can be killed as a whole.

Serve's proxies listen on the same port on each machine, so two of them cannot share a network. Needs root,
and `ip` (Debian: iproute2).
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.server import free_port

START_SECONDS = 120
# A supervisor starts again what has ended, after so many seconds.
AGAIN_SECONDS = 1.0
# Of all that the machine runs, against what else runs here (sched(7), autogroup).
PRIORITY = "-10"
# What is on its way between replicas, in bytes.
OBJECT_STORE_BYTES = 2**28


class Machine:
    """A machine in the network `name`, at `address`, that joins the Ray at `head` with so many `cores`.

    It is started again when it ends, as by a supervisor: on a busy machine Ray may take longer to start than
    it has patience for.
    """

    def __init__(
        self, name: str, address: str, head: str, cores: int, environment: Mapping[str, str]
    ) -> None:
        self._name, self._environment = name, environment
        self._command = ["ip", "netns", "exec", name, *_ray(f"--address={head}", address, cores)]
        self._over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._over.is_set():
            process = _started(self._command, self._environment)
            # Ray gives its own processes 15 seconds to start, as if they had cores of their own.
            with suppress(OSError):  # a kernel without groups
                Path(f"/proc/{process.pid}/autogroup").write_text(PRIORITY)
            process.wait()
            self.kill()  # what it has left behind
            self._over.wait(AGAIN_SECONDS)

    def pids(self) -> set[int]:
        """All of its processes."""
        found = subprocess.run(
            ["ip", "netns", "pids", self._name], check=True, stdout=subprocess.PIPE, text=True
        )
        return set(map(int, found.stdout.split()))

    def runs(self, gone: set[int]) -> bool:
        """Whether it has joined, but for processes that are `gone`, as far as can be seen from outside.

        Ray starts its agent first, and ends the machine if that does not answer.
        """
        for pid in self.pids() - gone:
            with suppress(OSError):  # it ended meanwhile
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::DashboardAgent"):
                    return True
        return False

    def kill(self) -> None:
        """SIGKILL to all of it: as when it loses power, but that others notice at once."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, for good."""
        self._over.set()
        while self._supervisor.is_alive():
            self.kill()
            self._supervisor.join(0.2)


@contextmanager
def network() -> Iterator[tuple[str, str, str]]:
    """A network for a machine: its name, our address in it, and the machine's."""
    name, door = f"retrievalguard{os.getpid()}", f"rg{os.getpid()}"
    here, there = (f"10.213.{os.getpid() % 250}.{number}" for number in (1, 2))
    _ip("netns", "add", name)
    try:
        _ip("link", "add", door, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", door)
        _ip("link", "set", door, "up")
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        yield name, here, there
    finally:
        _ip("netns", "del", name)


@contextmanager
def ray_head(address: str, cores: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Ray's first machine, which is this one, at `address`; what others join."""
    port = free_port(address)
    process = _started(_ray("--head", address, cores, f"--port={port}"), environment)
    try:
        _wait_for(address, port, process)
        yield f"{address}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _ray(kind: str, address: str, cores: int, *more: str) -> list[str]:
    # Ports are named: Ray waits only seconds for processes that choose their own.
    names = (
        *("dashboard-agent-grpc-port", "dashboard-agent-listen-port"),
        *("runtime-env-agent-port", "metrics-export-port"),
    )
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", kind, f"--node-ip-address={address}", *more),
        *(f"--num-cpus={cores}", f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"),
        *(f"--{name}={free_port()}" for name in names),
        *(["--include-dashboard=false"] if kind == "--head" else []),
        "--block",
    ]


def _started(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for(address: str, port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Ray does not start here: its logs are in /tmp/ray") from None
            time.sleep(0.2)
        else:
            return


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
