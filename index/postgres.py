"""A gallery in PostgreSQL, which replicas share."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from index.database import SharedGallery, Version
from index.failures import BUSY, BUSY_SECONDS, OutcomeUnknown, StoreBusy, StoreFailure, StoreUnreachable
from index.files import private_folder
from index.following import CHANNEL, Following
from index.history import newest
from index.postgres_failures import told, unreachable
from index.postgres_schema import SCHEMA, upgrade
from index.postgres_session import PostgresConnection, PostgresSession

# A server that does not answer is given up after so long. A standby is none of ours: it may not have yet what
# was acknowledged. A URL may say otherwise.
_CONNECTING = {
    "target_session_attrs": "primary",
    "connect_timeout": "5", "tcp_user_timeout": "10000", "keepalives_idle": "10", "keepalives_interval": "5",
    "keepalives_count": "3", "application_name": "retrievalguard",
}  # fmt: skip
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# The one row that every writer locks first, so that changes come one after another.
_LOCK = b"SELECT version FROM gallery FOR UPDATE"
_TELL = f"NOTIFY {CHANNEL}".encode()
_NAME_OF = "SELECT gallery.version, versions.name FROM gallery LEFT JOIN versions ON versions.version = ?"
# Whatever is usual for this user. Who waits for the lock gives up after 30 s, as with a file.
# Who holds it and stands still loses it.
# A database without an encoding (SQL_ASCII) would send the names of tables as bytes.
_SETTINGS = f"""
SET client_encoding TO 'UTF8';
SET search_path TO {SCHEMA};
SET lock_timeout = '30s';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
""".encode()
_WRITER = b"SET idle_in_transaction_session_timeout = '60s'"
# How often whoever waits for others looks whether the server is there at all.
LOOKED_SECONDS = 0.5
# How long a server may be away that took a change and has not said whether it is stored.
SETTLED_SECONDS = 20.0


class PostgresDatabase:
    """An `index.database.Database`. What is not there yet is made, in a schema of its own."""

    def __init__(self, shared: SharedGallery) -> None:
        try:
            self._parameters: dict[str, Any] = _CONNECTING | conninfo_to_dict(shared.url)
        except psycopg.ProgrammingError:
            raise StoreFailure("DATABASE_URL is not like postgresql://user:password@host/database") from None
        self._place = "PostgreSQL at {host}:{port}/{dbname}".format_map(
            {"host": "localhost", "port": 5432, "dbname": ""} | self._parameters
        )
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: PostgresConnection | None = None
        self._reader: PostgresConnection | None = None
        self._scanning = set[PostgresConnection]()
        self._following: Following | None = None
        with told(self._place):
            private_folder(shared.path.parent)
            self._writer = self._connected(_WRITER)
            try:
                upgrade(self._writer)
            except BaseException:
                self._writer.close()
                raise

    @property
    def place(self) -> str:
        """Server and database, without user and password."""
        return self._place

    def close(self) -> None:
        """End all connections; what was returned from is durable already."""
        with suppress(StoreUnreachable), self._turn(self._writing), self._turn(self._reading):
            pass  # what is under way ends first, or is cut
        if self._following is not None:
            self._following.close()
        with self._writing, self._reading:
            for db in (self._writer, self._reader):
                if db is not None:
                    db.close()

    def follow(self) -> None:
        """From now on, know the newest version without asking for it."""
        self._following = Following(self._connected, self._place, self._cut)

    def newest(self) -> Version:
        """The newest version that was heard of. Raises `StoreUnreachable` while none can be."""
        if self._following is not None:
            return self._following.newest()
        with self.reading() as db:
            return newest(db)

    def newest_at_once(self) -> Version | None:
        """The newest version that was heard of; None where it would have to be asked for, or is not known."""
        return None if self._following is None else self._following.newest_at_once()

    @contextmanager
    def transaction(self) -> Iterator[PostgresSession]:
        """All of it, or nothing. Raises `OutcomeUnknown` if it is not known which."""
        # Those before it may wait for another replica themselves, one after the other.
        with self._turn(self._writing, BUSY_SECONDS), told(self._place):
            self._writer = db = self._begun(self._writer, _WRITE, _WRITER)
            session = PostgresSession(db)
            try:
                before = int(session.execute(_LOCK.decode()).fetchone()[0])
                yield session
                after = newest(session)
                db.execute(_TELL)
            except BaseException:
                _roll_back(db)
                raise
            try:
                db.execute("COMMIT")
            except psycopg.Error:
                db.close()
                if not self._stored(before, after):
                    raise
            if self._following is not None:
                self._following.changed(after)

    @contextmanager
    def view(self) -> Iterator[PostgresSession]:
        """One consistent view."""
        with self._turn(self._reading), told(self._place):
            self._reader = db = self._begun(self._reader, _READ)
            try:
                yield PostgresSession(db)
            finally:
                _roll_back(db)

    reading = view

    @contextmanager
    def scan(self) -> Iterator[PostgresSession]:
        """One consistent view, on a connection of its own."""
        self._check_there()
        with told(self._place), self._connected() as db:
            self._scanning.add(db)
            try:
                db.execute(_READ)
                yield PostgresSession(db)
            finally:
                self._scanning.discard(db)

    @contextmanager
    def _turn(self, lock: threading.Lock, seconds: float = math.inf) -> Iterator[None]:
        """Hold `lock`; nobody waits for it while the server is known to be away, or longer than `seconds`."""
        deadline = time.monotonic() + seconds
        self._check_there()
        while not lock.acquire(timeout=LOOKED_SECONDS):
            self._check_there()
            if time.monotonic() > deadline:
                raise StoreBusy(f"{self._place} {BUSY}")
        try:
            yield
        finally:
            lock.release()

    def _check_there(self) -> None:
        """Raises `StoreUnreachable` if the server is known to be away."""
        if self._following is not None:
            self._following.newest()

    def _cut(self) -> None:
        """End all that waits for the server, which hangs. Whether a change was stored is looked up."""
        for db in (self._writer, self._reader, *self._scanning):
            if db is not None:
                db.cut()

    def _connected(self, settings: bytes = b"") -> PostgresConnection:
        try:
            db = PostgresConnection.connect(
                **self._parameters, autocommit=True, cursor_factory=psycopg.RawCursor[tuple[Any, ...]]
            )
        except psycopg.Error as error:
            raise unreachable(self._place, error) from error
        try:
            db.server_cursor_factory = psycopg.RawServerCursor
            db.execute(_SETTINGS + settings)
        except BaseException:
            db.close()
            raise
        return db

    def _begun(
        self, db: PostgresConnection | None, begin: bytes, settings: bytes = b""
    ) -> PostgresConnection:
        """The connection `db` at the beginning of a transaction, or another one, if it is lost."""
        self._check_there()  # it may be away since it was our turn
        if db is not None:
            try:
                db.execute(begin)
                return db
            except psycopg.OperationalError:
                db.close()
        db = self._connected(settings)
        db.execute(begin)
        return db

    def _stored(self, before: int, after: Version) -> bool:
        """Whether the change from version `before` to `after` is stored.

        The server went away when it was told to store it. Who waits for the lock waits for its answer, too.
        """
        deadline = time.monotonic() + SETTLED_SECONDS
        while after.number != before and time.monotonic() < deadline:
            try:
                with self._connected() as db:
                    db.execute(_WRITE)
                    db.execute(_LOCK)
                    now, name = PostgresSession(db).execute(_NAME_OF, (after.number,)).fetchone()
                    if name is not None or now < after.number:
                        return bool(name == after.name)
                    break  # all of it was replaced since
            except (psycopg.Error, StoreFailure):
                time.sleep(0.2)
        raise OutcomeUnknown(
            f"{self._place} went away in the middle of a change, and it is not known whether that was stored:"
            " look at the gallery, or send the same again"
        )


def _roll_back(db: PostgresConnection) -> None:
    try:
        db.execute("ROLLBACK")
    except psycopg.Error:  # it is lost: then the server does it
        db.close()
