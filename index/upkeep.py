"""Work on a gallery in the background, one thing at a time."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("retrievalguard")

# How long the end waits for what is being done.
CLOSE_SECONDS = 10.0


class Upkeep:
    """A thread that calls `work` whenever it is woken, and again while that returns True.

    It is there from the first call on.
    """

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def wake(self) -> None:
        """There is something to do, or may be."""
        with self._lock:
            self._woken.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="gallery-upkeep", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End, after what is being done now; on a disk that hangs it is left behind."""
        with self._lock:
            self._closed = True
            self._woken.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            self._woken.wait()
            self._woken.clear()
            try:
                while not self._closed and self._work():
                    pass
            except Exception:  # the next one who wakes it has it tried again
                log.exception("the upkeep of the gallery failed")
