"""A real PostgreSQL for the tests, which can be killed, stopped and put on a disk that fills up."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg
import pytest

PASSWORD = "pass/word #1"  # never in a log, a message or an answer
ESCAPED = "pass%2Fword%20%231"
# Debian's; another place of a machine of one's own is asked for.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

_databases = count()


def _programs() -> Path:
    found = shutil.which("initdb") or (PROGRAMS[-1] if PROGRAMS else None)
    if found is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql")
    return Path(found).resolve().parent


class PostgresServer:
    """A server in a folder of its own, with a `log`."""

    def __init__(self) -> None:
        self._programs = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        # It refuses to run as root.
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] * (os.getuid() == 0)
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self.log = self.folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"postgresql://tests:{ESCAPED}@127.0.0.1:{self.port}/postgres"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            *("initdb", "--pgdata", "data", "--username", "tests", "--auth", "scram-sha-256", "--no-sync"),
            *("--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"),
        )
        # A disk that only the server sees, and that is full soon, where we may make one.
        self.small = self.folder / "small"
        self.small.mkdir()
        self._has_disk = os.getuid() == 0 and not subprocess.run(["unshare", "--mount", "true"]).returncode
        self.start()

    def start(self) -> None:
        """Start it, and wait for its answer."""
        options = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder,
            # Processes are killed here, not machines: what they wrote stays.
            "fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB",
            "client_min_messages": "warning",
        }  # fmt: skip
        server = [str(self._programs / "postgres"), "-D", "data"]
        server += [f"--{name}={value}" for name, value in options.items()]
        command = [*self._as, *server]
        if self._has_disk:
            mount = f"mount -t tmpfs -o size=40m,uid=postgres,mode=700 none {self.small}"
            command = ["unshare", "--mount", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
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

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """SIGSTOP to all of it: connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def emptied(self) -> str:
        """The URL of a database that nobody uses and that is empty: a new one takes longer."""
        with closing(self.connect()) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()")
            db.execute("DROP SCHEMA IF EXISTS retrievalguard CASCADE")
        return self.url

    def database(self) -> str:
        """The URL of a new database."""
        name = f"gallery{next(_databases)}"
        with closing(self.connect()) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.url.removesuffix("postgres") + name

    @contextmanager
    def small_database(self) -> Iterator[str]:
        """The URL of a database on a disk of 40 MB; what the server logs ahead is elsewhere."""
        if not self._has_disk:
            pytest.skip("only root can mount a small disk")
        with closing(self.connect()) as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{self.small}'".encode())
            db.execute("CREATE DATABASE small TABLESPACE small")
            try:
                yield self.url.removesuffix("postgres") + "small"
            finally:
                db.execute("DROP DATABASE small")
                db.execute("DROP TABLESPACE small")

    def connect(self, url: str | None = None) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of one's own, to the gallery at `url`."""
        db = psycopg.connect(url or self.url, autocommit=True)
        if url is not None:
            db.execute("SET search_path TO retrievalguard")
        return db

    def _signal(self, number: signal.Signals) -> None:
        """To the server, then to those that it started, which would otherwise be started anew."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
