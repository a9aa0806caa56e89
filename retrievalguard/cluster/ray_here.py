"""Ray: started on this machine for as long as the command runs, or joined where it runs already.

There is no dashboard: that would be one more door. `surroundings` sets before what Ray reads when imported.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from retrievalguard.cluster.plan import ClusterPlan
from retrievalguard.cluster.surroundings import STARTS
from retrievalguard.preflight import CheckError
from service.settings import Settings

log = logging.getLogger("retrievalguard")

# How long Ray may take to start and to end, in seconds: it is a dozen processes, and the machine may be busy.
START_SECONDS, STOP_SECONDS = 180.0, 30.0
# What is on its way between replicas, in bytes: calls and replies of less than a megabyte.
OBJECT_STORE_BYTES = 2**28
LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Running:
    """A Ray at `address`, and its `process` if it was started here."""

    address: str
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def alive(self) -> bool:
        """Whether that process is: it ends when one that belongs to it does."""
        return self.process is None or self.process.poll() is None


@contextmanager
def own(plan: ClusterPlan) -> Iterator[Running]:
    """Ray on this machine, to its end. Raises `CheckError`.

    It listens on all interfaces, whatever it is told: its token keeps others out (`surroundings`).
    """
    process, port = _started(plan)
    try:
        yield Running(f"{LOOPBACK}:{port}", process)
    finally:
        if process.poll() is None:
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
        _end(process)


def _started(plan: ClusterPlan) -> tuple["subprocess.Popen[bytes]", int]:
    """Ray's process, connected to, and its port."""
    for start in range(STARTS, 0, -1):
        process, port = _start(plan)
        try:
            _connect(port, process)
        except BaseException as error:
            _end(process)
            if start == 1 or not isinstance(error, CheckError):
                raise
            log.warning("Ray has not started, trying again: %s", error)
        else:
            break
    return process, port


def _start(plan: ClusterPlan) -> tuple["subprocess.Popen[bytes]", int]:
    port, grpc, http, environments, metrics = _free_ports(5)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--include-dashboard=false", f"--port={port}"),
        f"--num-cpus={max(len(os.sched_getaffinity(0)), plan.least_cores)}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        # Named, for it waits only seconds until processes that choose their own have told which.
        *(f"--dashboard-agent-grpc-port={grpc}", f"--dashboard-agent-listen-port={http}"),
        *(f"--runtime-env-agent-port={environments}", f"--metrics-export-port={metrics}"),
    ]
    # In a session of its own: Ctrl-C is for us, who let replicas answer what they were asked.
    process = subprocess.Popen(  # noqa: S603, of words that are all ours
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    return process, port


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End Ray, and with it all that it started."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone, also by SIGKILL (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _connect(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection((LOOPBACK, port), 1):
                pass
            ray.init(address=f"{LOOPBACK}:{port}", configure_logging=False)
        except Exception as error:  # it has many for "not yet"
            if process.poll() is not None or time.monotonic() > deadline:
                raise CheckError(f"Ray does not start here ({error}): its logs are in /tmp/ray") from error
            time.sleep(0.2)
        else:
            return


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def joined(address: str) -> Iterator[Running]:
    """The Ray that runs at `address`, left as it is at the end. Raises `CheckError` if there is none."""
    try:
        ray.init(address=address, configure_logging=False)
    except (ConnectionError, ValueError) as error:
        raise CheckError(f"--address: there is no Ray at {address}: start it with `ray start`") from error
    try:
        yield Running(address)
    finally:
        ray.shutdown()


def open_door(settings: Settings) -> None:
    """Have every machine with replicas listen; where Serve does so already, it goes on as it was started."""
    serve.start(
        proxy_location=ProxyLocation.EveryNode,
        http_options=HTTPOptions(
            host=settings.host, port=settings.port, keep_alive_timeout_s=settings.idle_timeout_seconds
        ),
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )


def machines() -> int:
    """How many there are in the cluster now."""
    nodes: list[dict[str, object]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(bool(node["Alive"]) for node in nodes)
