"""Ctrl-C, from the first moment to the last: status 130, and no traceback."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

# As shells have it: 128 and the number of the signal.
STATUS = 130


def leave_at_once() -> None:
    """Until `raise_again`, Ctrl-C ends the process where it stands: for the time when libraries are loaded.

    An import that is interrupted can come out as another error, or as none. Nothing is open yet.
    """
    signal.signal(signal.SIGINT, _leave)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, so that what is open is closed."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave() -> NoReturn:
    """The end after a KeyboardInterrupt: nothing waits for threads that still run, or hears of them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(STATUS)


def _leave(signal_number: int, frame: FrameType | None) -> None:
    os._exit(STATUS)
