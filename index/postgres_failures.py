"""What the errors of PostgreSQL mean to whoever runs the service. No message holds a password."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from index.failures import BUSY, NotAGallery, StoreBusy, StoreFailure, StoreUnreachable

# What PostgreSQL says (SQLSTATE), and the way out.
_WAYS_OUT = {
    "53100": "cannot grow, the disk is full: free some space; the change was not stored",
    "25006": "cannot be written, it is a standby or read-only: DATABASE_URL must name the primary",
    "42501": "does not let this user read and write: grant it the schema, or CREATE on the database",
    "25P03": "waited too long in the middle of a change: nothing of it was stored",
    "XX001": "is damaged: restore a backup",
    "XX002": "is damaged: restore a backup",
}
# Connections that end, and servers that end, or begin.
_CUT_OFF = ("08", "57P")


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn what psycopg or the file system raises into a `StoreFailure`: the database, and the way out."""
    try:
        yield
    except NotAGallery as error:
        raise StoreFailure(f"{place} {error}") from error
    except psycopg.Error as error:
        raise _failure(place, error) from error
    except OSError as error:
        raise StoreFailure(f"{place} cannot be used ({error.strerror or error})") from error


def unreachable(place: str, error: Exception) -> StoreUnreachable:
    """The failure to connect that `error` tells of."""
    return StoreUnreachable(
        f"{place} cannot be reached ({_first_line(error)}): look at it, and at DATABASE_URL"
    )


def _failure(place: str, error: psycopg.Error) -> StoreFailure:
    state = error.sqlstate
    if state == "55P03":
        return StoreBusy(f"{place} {BUSY}")
    if state in _WAYS_OUT:
        return StoreFailure(f"{place} {_WAYS_OUT[state]}")
    if state is None or state.startswith(_CUT_OFF):
        return unreachable(place, error)
    return StoreFailure(f"{place} cannot be used: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
