"""A DATABASE_URL that parses is not yet one that connects as meant."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.database_url import fault

# Each with a word of what must be told.
WRONG = {
    "localhost:5432": "begin",
    "sqlite:///gallery.sqlite3": "begin",
    "mysql://host/db": "begin",
    "POSTGRESQL://host/db": "begin",
    "postgresql:host": "begin",
    "postgresql://": "one host",
    "postgresql:///db": "one host",
    "postgresql://host/db?host=/run": "one host",
    "postgresql://host": "no database",
    "postgresql://host/": "no database",
    "postgresql://host/a/b": "no database",
    "postgresql://host:port/db": "port",
    "postgresql://${HOST}/db": "host or port",
    "postgresql://fe80::1/db": "host or port",
    "postgresql://user:pass#word@host/db": "%23",
    "postgresql://user:pass/word@host/db": "%2F",
    "postgresql://user:pass?word@host/db": "%3F",
    "postgresql://user:pass@word@host/db": "%40",
    "postgresql://user:pass:word@host/db": "%3A",
    "postgresql://user:pass[word@host/db": "%5B",
    "postgresql://user:pass%word@host/db": "%25",
    "postgresql://user:pass word@host/db": "space",
    "postgresql://host/db\n": "line break",
    "postgresql://user:pass\u2100word@host/db": "cannot be read",
    "postgresql://host/db?word": "option",
    "postgresql://host/db?sslmode=": "option",
    "postgresql://host/db?sslmod=require": "option",
    "postgresql://host/db?options=-csearch_path%3Dpublic": "option",
}

RIGHT = {
    "postgresql://host/db": {"host": "host", "dbname": "db"},
    "postgres://user@host:5433/db": {"user": "user", "host": "host", "port": "5433", "dbname": "db"},
    "postgresql://user:a%2Fb%23c%40d%3Ae%20f@10.0.0.1/db": {
        "user": "user", "password": "a/b#c@d:e f", "host": "10.0.0.1", "dbname": "db",
    },
    "postgresql://[fe80::1]:5432/db": {"host": "fe80::1", "port": "5432", "dbname": "db"},
    "postgresql://one:1,two:2/db?target_session_attrs=read-write": {
        "host": "one,two", "port": "1,2", "dbname": "db", "target_session_attrs": "read-write",
    },
    "postgresql:///db?host=/run/postgresql": {"host": "/run/postgresql", "dbname": "db"},
    "postgresql://host/db?sslmode=verify-full&sslrootcert=/etc/ca.pem": {
        "host": "host", "dbname": "db", "sslmode": "verify-full", "sslrootcert": "/etc/ca.pem",
    },
}  # fmt: skip


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_is_told_without_a_part_of_the_url(url: str) -> None:
    said = fault(url)
    assert said is not None
    assert WRONG[url] in said
    assert "word" not in said.replace("password", "")


@pytest.mark.parametrize("url", RIGHT)
def test_what_is_taken_connects_as_it_is_written(url: str) -> None:
    assert fault(url) is None
    assert conninfo_to_dict(url) == RIGHT[url]
