"""The format of the log: one line a record, whatever is in it."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service import logs


@contextmanager
def logger(log_format: logs.LogFormat) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger with the format of `configuration`, and what it writes; the process keeps its own log."""
    made = logs.configuration(log_format)["formatters"]["line"]["()"]()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(made)
    found = logging.Logger("retrievalguard.test")
    found.addHandler(handler)
    yield found, written


@pytest.fixture
def request_id() -> Iterator[str]:
    token = logs.request_id.set("abc-1")
    yield "abc-1"
    logs.request_id.reset(token)


def test_a_line_of_json_has_time_level_logger_message_and_what_extra_gave(request_id: str) -> None:
    with logger("json") as (log, written):
        log.warning(
            "slow: %d\nms é \udce9",
            7,
            extra={"seconds": 0.007, "color_message": "\x1b[1m", "_ray_timestamp_ns": 1},
        )
    (line,) = written.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "WARNING",
        "logger": "retrievalguard.test",
        "message": "slow: 7\nms é \udce9",
        "request_id": request_id,
        "seconds": 0.007,
    }


def test_an_exception_is_inside_the_record() -> None:
    with logger("json") as (log, written):
        try:
            raise ValueError("what happened")
        except ValueError:
            log.exception("failed")
    record = json.loads(written.getvalue())
    assert record["exception"].startswith("Traceback")
    assert "ValueError: what happened" in record["exception"]
    assert "request_id" not in record


def test_what_json_cannot_hold_is_written_as_text() -> None:
    with logger("json") as (log, written):
        log.info("found", extra={"item": {1}, "level": "mine"})
    assert json.loads(written.getvalue())["item"] == "{1}"
    assert json.loads(written.getvalue())["level"] == "INFO"


def test_a_line_of_text_ends_with_the_request(request_id: str) -> None:
    with logger("text") as (log, written):
        log.info("found %s", "it")
    assert written.getvalue().endswith("INFO retrievalguard.test found it [request abc-1]\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_people_get_text_and_files_get_json_unless_it_is_set() -> None:
    assert logs.format_for("auto", Terminal()) == "text"
    assert logs.format_for("auto", io.StringIO()) == "json"
    assert logs.format_for("text", io.StringIO()) == "text"
    assert logs.format_for("json", Terminal()) == "json"
