"""What may be wrong with a `DATABASE_URL`, told at the start and without a part of it.

It may hold a password. It is read as libpq reads it, and refused where that is not what was written: a `#`
in a password would cut the rest off, and libpq repeats what it cannot read.
"""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from service.urls import parts_of, slips

_BEGINNINGS = ("postgresql://", "postgres://")
_SHAPE = "postgresql://[user[:password]@]host[:port]/database"
_ESCAPE = "in a password, write / ? # @ [ ] % : and spaces as %2F %3F %23 %40 %5B %5D %25 %3A and %20"
# One host, or several of which the one that can be written is wanted (target_session_attrs).
_HOST = r"([\w.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*", re.IGNORECASE)
# What may follow the `?`; all else is the service's own to decide.
_OPTIONS = (
    "application_name", "channel_binding", "connect_timeout", "gssencmode", "host", "passfile", "port",
    "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "tcp_user_timeout",
)  # fmt: skip


def fault(url: str) -> str | None:
    """What is wrong with `url` and how to mend it, or None. The message holds no part of `url`."""
    return next(_faults(url), None)


def _faults(url: str) -> Iterator[str]:
    if not url.startswith(_BEGINNINGS):
        yield f"must begin with {_BEGINNINGS[0]}"
        return
    yield from slips(url, _ESCAPE)
    parts = parts_of(url)
    if parts is None:
        yield f"cannot be read; {_ESCAPE}"
        return
    user, _, address = parts.netloc.rpartition("@")
    if "#" in url or "@" in user or user.count(":") > 1 or "@" in parts.path + parts.query:
        yield f"holds a #, @ or : where none can be; {_ESCAPE}"
    options = parse_qsl(parts.query, keep_blank_values=True)
    if address and not _HOSTS.fullmatch(address):
        yield f"has a host or port that is none: {_SHAPE}; {_ESCAPE}"
    if bool(address) == ("host" in dict(options)):
        yield f"needs one host: {_SHAPE}, or ?host=/the/folder/of/its/socket"
    if not re.fullmatch(r"/[^/]+", parts.path):
        yield f"names no database: {_SHAPE}; {_ESCAPE}"
    if any(name not in _OPTIONS or not value for name, value in options):  # may be the rest of a password
        yield f"has an option after the ? that is not one of {', '.join(_OPTIONS)}, or is empty; {_ESCAPE}"
