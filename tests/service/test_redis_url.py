"""A REDIS_URL that parses is not yet one that connects as meant."""

import pytest
from redis.connection import parse_url

from service.redis_url import fault

# Each with a word of what must be told.
WRONG = {
    "localhost:6379": "begin",
    "http://host": "begin",
    "REDIS://host": "begin",
    "redis:host": "begin",
    "redis://": "no host",
    "redis://:6379": "no host",
    "redis://:password@/0": "no host",
    "redis://host:port/0": "port",
    "redis://host:99999": "port",
    "redis://host:0": "port",
    "redis://host:": "port",
    "redis://one:1,two:2": "port",
    "redis://fe80::1:6379": "port",
    "redis://${HOST}:6379": "filled in",
    "redis://host:6379/notanumber": "database",
    "redis://host/-1": "database",
    "redis://host/1/2": "database",
    "redis://host/1?db=2": "twice",
    "redis://host?db=1&db=2": "twice",
    "redis://host?db=x": "db",
    "redis://:pass#word@host:6379/0": "%23",
    "redis://:pass/word@host:6379/0": "%2F",
    "redis://user:12/word@host:6379/0": "%2F",
    "redis://:pass?word@host:6379/0": "%3F",
    "redis://:pass@word@host:6379/0": "%40",
    "redis://:pass[word@host:6379/0": "%5B",
    "redis://:pass%word@host:6379/0": "%25",
    "redis://:pass word@host:6379/0": "space",
    "redis://host:6379/0\n": "line break",
    "redis://:pass\u2100word@host:6379/0": "cannot be read",
    "unix:": "begin",
    "unix:/run/redis.sock": "begin",
    "unix://": "path",
    "unix:///": "path",
    "unix://run/redis.sock": "absolute",
    "redis://host?ssl_cert_reqs=none": "rediss",
    "rediss://host?ssl_cert_reqs=bad": "ssl_cert_reqs",
    "rediss://host?ssl_check_hostname=maybe": "ssl_check_hostname",
    "redis://host?socket_timeout=60": "option",
    "redis://host?no_such_option=1": "option",
    "redis://host?password=": "password",
}

# Each with what the client makes of it.
RIGHT: dict[str, dict[str, object]] = {
    "redis://host": {"host": "host"},
    "redis://host/": {"host": "host"},
    "redis://redis_1.svc:6380/15": {"host": "redis_1.svc", "port": 6380, "db": 15},
    "redis://[::1]:6379/0": {"host": "::1", "port": 6379, "db": 0},
    "redis://user:p%23%2F%3F%40%25@host/1": {
        "host": "host",
        "username": "user",
        "password": "p#/?@%",
        "db": 1,
    },
    "redis://:@host:6379": {"host": "host", "port": 6379},
    "redis://host?db=3": {"host": "host", "db": 3},
    "rediss://host?ssl_cert_reqs=optional&ssl_check_hostname=False": {
        "host": "host",
        "ssl_cert_reqs": "optional",
        "ssl_check_hostname": False,
    },
    "unix:///run/redis.sock?db=1": {"path": "/run/redis.sock", "db": 1},
    "unix://user:password@/run/redis.sock": {
        "path": "/run/redis.sock",
        "username": "user",
        "password": "password",
    },
}


@pytest.mark.parametrize("url", WRONG)
def test_a_url_that_cannot_connect_as_meant_is_told_and_not_shown(url: str) -> None:
    told = fault(url)
    assert told is not None
    assert WRONG[url] in told
    shown = told.replace("password", "")  # the word that explains, not the one in the URL
    assert not any(part in shown for part in ("word", "${HOST}", "notanumber", "no_such_option"))


@pytest.mark.parametrize("url", RIGHT)
def test_a_url_that_means_what_it_says_is_taken(url: str) -> None:
    assert fault(url) is None
    understood = parse_url(url)
    understood.pop("connection_class", None)
    assert understood == RIGHT[url]
