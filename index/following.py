"""Knowing the newest version of a shared gallery, so that a query need not ask for it."""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable

from index.database import Version
from index.failures import StoreUnreachable
from index.history import newest
from index.postgres_failures import told
from index.postgres_session import PostgresConnection, PostgresSession

log = logging.getLogger("retrievalguard")

# Every change tells it to whoever listens.
CHANNEL = "retrievalguard"
# How often the version is asked for though nothing was heard, and a lost server is tried again.
ASKED_SECONDS, TRIED_SECONDS = 0.5, 1.0
# A server that leaves a question unanswered for so long is away, though its connections stay.
HANGING_SECONDS = 5.0
# How long its thread may take to end.
LEFT_SECONDS = 2.0


class Following:
    """A thread that hears of every change, and asks twice a second in case that it did not.

    `connect` makes a connection to the database that messages call `place`; `cut` is called while the server
    hangs. Raises `StoreFailure`.
    """

    def __init__(
        self, connect: Callable[[], PostgresConnection], place: str, cut: Callable[[], None]
    ) -> None:
        self._connect, self._place, self._cut = connect, place, cut
        self._lock = threading.Lock()
        self._own_changes = 0
        self._lost: StoreUnreachable | None = None
        self._closed = False
        with told(place), connect() as db:
            self._ask(db)
        self._heard = time.monotonic()
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="gallery-following", daemon=True)
        self._thread.start()

    def newest(self) -> Version:
        """The newest version that is known. Raises `StoreUnreachable` while the server is away."""
        if time.monotonic() - self._heard > HANGING_SECONDS:
            if self._lost is None:
                self._failed(StoreUnreachable(f"{self._place} does not answer"))
            self._cut()
        lost = self._lost
        if lost is not None:
            raise StoreUnreachable(str(lost))
        return self._version

    def newest_at_once(self) -> Version | None:
        """The newest version that is known; None while the server is away, of which nobody is told."""
        away = self._lost is not None or time.monotonic() - self._heard > HANGING_SECONDS
        return None if away else self._version

    def changed(self, version: Version) -> None:
        """A change of our own made this `version`: who asks next is to see it."""
        with self._lock:
            self._version = version
            self._own_changes += 1

    def close(self) -> None:
        """End the thread and its connection; one that waits for a server that hangs is left to it."""
        self._closed = True
        self._end.close()
        self._thread.join(LEFT_SECONDS)

    def _run(self) -> None:
        with self._ended:
            self._follow()

    def _follow(self) -> None:
        while not self._closed:
            try:
                with told(self._place), self._connect() as db:
                    db.execute(f"LISTEN {CHANNEL}".encode())
                    while not self._closed:
                        self._ask(db)
                        self._worked()
                        self._wait(db)
            except Exception as error:  # whatever it is: who hears nothing must not pass for up to date
                self._failed(error)
                self._pause(TRIED_SECONDS)

    def _ask(self, db: PostgresConnection) -> None:
        with self._lock:
            before = self._own_changes
        found = newest(PostgresSession(db))
        with self._lock:
            if self._own_changes == before:  # else what was read may be older
                self._version = found

    def _wait(self, db: PostgresConnection) -> None:
        """Until something is heard, or it is time to ask."""
        if not list(db.notifies(timeout=0)):  # heard while we asked
            self._pause(ASKED_SECONDS, db)
            list(db.notifies(timeout=0))

    def _pause(self, seconds: float, db: PostgresConnection | None = None) -> None:
        """Until something comes from the server, the end, or so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            if db is not None:
                selector.register(db.fileno(), selectors.EVENT_READ)
            selector.select(seconds)

    def _failed(self, error: Exception) -> None:
        if self._lost is None and not self._closed:
            log.warning(
                "%s; until it answers, queries are answered from version %d", error, self._version.number
            )
        self._lost = StoreUnreachable(str(error))

    def _worked(self) -> None:
        self._heard = time.monotonic()
        if self._lost is not None:
            self._lost = None
            log.info("%s answers again", self._place)
