"""The standard streams of the command line: one that is closed, a reader that has left, a full disk."""

import errno
import io
import os
import sys
from contextlib import suppress


def complete() -> None:
    """Put something in the place of standard streams that are closed, and let all of them take any text.

    Else the next file that is opened, a database perhaps, would be number 1, and what is printed would go
    into it. Writing to a closed standard output fails; what is written to the standard error is lost.
    """
    for number, access in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, access)  # the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a label may have letters that the locale does not know
        sys.stdout.reconfigure(errors="backslashreplace")


def flushed(status: int) -> int:
    """The exit `status` after all that was printed has been written; 1 if it cannot be."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            # Python flushes once more at the end: what it cannot write goes nowhere.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if error.errno != errno.EPIPE:  # a reader that has left, such as `head`, has what it wanted
                print(f"standard output: {error.strerror}", file=sys.stderr)
        return status or 1
    return status


def readable(text: str) -> str:
    """`text` for a terminal: bytes that are no UTF-8, and control characters, as escapes."""
    return "".join(letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python carries such a byte
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
