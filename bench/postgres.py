"""A real PostgreSQL, Debian's, for benchmarks and tests: started, killed, and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.server import free_port

PASSWORD = "pass/word #1"  # never in a log, a message or an answer
ESCAPED = "pass%2Fword%20%231"
START_SECONDS = 30


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, Debian's if no other is on the path; None: there is none."""
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (debians[-1] if debians else None)
    return None if found is None else Path(found).resolve().parent


class PostgresProcess:
    """A server in a folder of its own, with a `log`, that listens on `addresses` and is at the first of them.

    Raises `FileNotFoundError` if PostgreSQL is not installed.
    """

    def __init__(self, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError("there is no PostgreSQL: apt-get install postgresql")
        self._programs, self._addresses = programs, addresses
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        # It refuses to run as root.
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] * (os.getuid() == 0)
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self.log = self.folder / "log"
        self.port = free_port(addresses[0])
        self.url = f"postgresql://tests:{ESCAPED}@{addresses[0]}:{self.port}/postgres"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            *("initdb", "--pgdata", "data", "--username", "tests", "--auth", "scram-sha-256", "--no-sync"),
            *("--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"),
        )
        with (self.folder / "data" / "pg_hba.conf").open("a") as allowed:
            allowed.write("host all all samenet scram-sha-256\n")
        self.start()

    def start(self) -> None:
        """Start it, and wait for its answer."""
        options = {
            "port": self.port, "listen_addresses": ",".join(self._addresses),
            "unix_socket_directories": self.folder,
            # Processes are killed here, not machines: what they wrote stays.
            "fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB",
            "client_min_messages": "warning",
        }  # fmt: skip
        server = [str(self._programs / "postgres"), "-D", "data"]
        server += [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._surrounded([*self._as, *server]), cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log.read_text()[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to all of it: no goodbye to any client, nothing written that was not yet."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Kill it, and clear up."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _surrounded(self, command: list[str]) -> list[str]:
        """`command` in surroundings of its own, if it needs any."""
        return command

    def _signal(self, number: signal.Signals) -> None:
        """To the server, then to those that it started, which would otherwise be started anew."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _answers(self) -> bool:
        asked = ["--host", self._addresses[0], "--port", str(self.port), "--quiet"]
        return not subprocess.run([str(self._programs / "pg_isready"), *asked], check=False).returncode

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
