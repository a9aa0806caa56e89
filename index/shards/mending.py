"""Copies that were started anew, and segments that nobody needs any more: looked after in the background."""

import logging
import threading
from collections.abc import Callable

from index.failures import GalleryError

log = logging.getLogger("retrievalguard")

# How often copies are asked what they hold: they are told so, too, that what they hold is still needed.
SECONDS = 1.0


class Mending:
    """A thread that calls `mend` again and again, until it is closed."""

    def __init__(self, mend: Callable[[], None]) -> None:
        self._mend = mend
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery-mending", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, after what is being done now."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        told = ""
        while not self._closed.wait(SECONDS):
            try:
                self._mend()
                told = ""
            except GalleryError as error:  # the next time it may work
                if str(error) != told:
                    log.warning("the shards of the gallery cannot be mended yet: %s", error)
                told = str(error)
            except Exception:
                log.exception("the mending of the shards of the gallery failed")
