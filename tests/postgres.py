"""A real PostgreSQL for the tests, which can also hang, and be put on a disk that fills up."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from bench.postgres import ESCAPED, PASSWORD, PostgresProcess, postgres_programs

__all__ = ["ESCAPED", "PASSWORD", "PostgresServer"]

_databases = count()


class PostgresServer(PostgresProcess):
    """A server for tests, which are skipped where PostgreSQL is not installed."""

    def __init__(self) -> None:
        if postgres_programs() is None:
            pytest.skip("there is no PostgreSQL: apt-get install postgresql")
        # A disk that only the server sees, and that is full soon, where we may make one.
        self._has_disk = os.getuid() == 0 and not subprocess.run(["unshare", "--mount", "true"]).returncode
        super().__init__()

    def _surrounded(self, command: list[str]) -> list[str]:
        if not self._has_disk:
            return command
        self._small.mkdir(exist_ok=True)
        mount = f"mount -t tmpfs -o size=40m,uid=postgres,mode=700 none {self._small}"
        return ["unshare", "--mount", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]

    @property
    def _small(self) -> Path:
        return self.folder / "small"

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

    def connect(self, url: str | None = None) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of one's own, to the gallery at `url`."""
        db = psycopg.connect(url or self.url, autocommit=True)
        if url is not None:
            db.execute("SET search_path TO retrievalguard")
        return db

    @contextmanager
    def small_database(self) -> Iterator[str]:
        """The URL of a database on a disk of 40 MB; what the server logs ahead is elsewhere."""
        if not self._has_disk:
            pytest.skip("only root can mount a small disk")
        with closing(self.connect()) as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{self._small}'".encode())
            db.execute("CREATE DATABASE small TABLESPACE small")
            try:
                yield self.url.removesuffix("postgres") + "small"
            finally:
                db.execute("DROP DATABASE small")
                db.execute("DROP TABLESPACE small")
