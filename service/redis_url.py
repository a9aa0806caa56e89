"""What may be wrong with a `REDIS_URL`, told at the start and without a part of it: it may hold a password.

A URL that parses is not yet one that connects as meant: a `#` in a password cuts the rest off, and the client
takes a database that is no number for database 0. It is read here as redis-py reads it, and refused where
that is not what was written.
"""

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl

from service.urls import parts_of, slips

SCHEMES = ("redis", "rediss", "unix")
_BEGINNINGS = tuple(f"{scheme}://" for scheme in SCHEMES)

# What may follow the `?`, and what it may be. Time-outs and retries are the service's own to decide.
_TEXT, _FLAG = r".+", r"true|false|yes|no|1|0"
_OPTIONS = {"db": r"[0-9]{1,5}", "username": _TEXT, "password": _TEXT, "client_name": r"[\w.:-]+"}
_TLS_OPTIONS = {
    "ssl_cert_reqs": r"none|optional|required",
    "ssl_check_hostname": _FLAG,
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_certfile": _TEXT,
    "ssl_keyfile": _TEXT,
}
_HOST = r"[\w.-]+|[0-9a-f:.]+"
_ESCAPE = "in a password, write / ? # @ [ ] % and spaces as %2F %3F %23 %40 %5B %5D %25 and %20"
_SHAPE = "redis://[user:password@]host[:port][/database]"


def fault(url: str) -> str | None:
    """What is wrong with `url` and how to mend it, or None. The message holds no part of `url`."""
    return next(_faults(url), None)


def _faults(url: str) -> Iterator[str]:
    if not url.startswith(_BEGINNINGS):
        yield f"must begin with one of {', '.join(_BEGINNINGS)}"
        return
    yield from slips(url, _ESCAPE)
    parts = parts_of(url)
    if parts is None:
        yield f"cannot be read; {_ESCAPE}"
        return
    userinfo, _, address = parts.netloc.rpartition("@")
    beyond = parts.path + parts.query + parts.fragment
    # A query may hold an @ in a file name; the other places of one are all mistakes.
    if "#" in url or "@" in userinfo or ("@" in beyond and "@" not in parts.netloc):
        yield f"holds a # or an @ where none can be; {_ESCAPE}"
    if parts.scheme == "unix":
        yield from _socket_faults(parts, address)
    else:
        yield from _address_faults(parts, address)
    yield from _option_faults(parts)


def _socket_faults(parts: SplitResult, address: str) -> Iterator[str]:
    if address:
        yield "has a host: a socket is unix:///its/absolute/path, with three slashes"
    if not parts.path.strip("/"):
        yield "has no path: a socket is unix:///its/absolute/path"


def _address_faults(parts: SplitResult, address: str) -> Iterator[str]:
    found = re.fullmatch(r"(?P<host>\[[^]]*\]|[^:]*)(?P<port>:.*)?", address)
    if found is None:
        yield f"has no host and port that can be told apart: {_SHAPE}, an IPv6 host in [ ]; {_ESCAPE}"
        return
    host, port = found["host"].strip("[]"), found["port"]
    if not host:
        yield f"has no host: {_SHAPE}; {_ESCAPE}"
    elif not re.fullmatch(_HOST, host, re.IGNORECASE):
        yield "has a host that is no name and no address: is a variable in it not filled in?"
    if port is not None and not (re.fullmatch(r":[0-9]{1,5}", port) and 0 < int(port[1:]) < 65536):
        yield f"has a port that is no number from 1 to 65535: {_SHAPE}; without one it is 6379; {_ESCAPE}"
    if not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path):
        yield f"has a database that is no number: {_SHAPE}; {_ESCAPE}"


def _option_faults(parts: SplitResult) -> Iterator[str]:
    given = parse_qsl(parts.query, keep_blank_values=True)
    tls = parts.scheme == "rediss"
    allowed = _OPTIONS | (_TLS_OPTIONS if tls else {})
    for name, value in given:
        if name in _TLS_OPTIONS and not tls:
            yield f"has the option {name}, which needs rediss://"
        elif name not in allowed:  # an unknown name may be the rest of a password
            yield f"has an option after the ? that is not one of {', '.join(allowed)}; {_ESCAPE}"
        elif not re.fullmatch(allowed[name], value, re.IGNORECASE if allowed[name] is _FLAG else 0):
            yield f"has a value for {name} that is not one it can have{_choices(allowed[name])}"
    names = [name for name, _ in given]
    if len(names) != len(set(names)):
        yield "has an option twice"
    if "db" in names and parts.scheme != "unix" and parts.path.strip("/"):
        yield "names a database twice: in the path, and after the ?"


def _choices(pattern: str) -> str:
    return f": {pattern.replace('|', ', ')}" if re.fullmatch(r"[\w|]+", pattern) else ""
