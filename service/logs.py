"""One format for every line of the log, uvicorn's included: text for people, JSON for machines.

Nothing is set here. The front door applies `configuration` to its own process; a program that uses the
library has a log of its own.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

LogFormat = Literal["text", "json"]

# The request that the present task or thread works for; None outside one.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# What `logging` itself puts into a record: all else was given with `extra`, and is a member of its line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What uvicorn adds for its own colours, and Ray to every record of a process that has it.
_LEFT_OUT = _OWN | {"color_message", "_ray_timestamp_ns"}
_JSON = json.JSONEncoder(default=str)


def format_for(wanted: Literal["auto", "text", "json"], stream: TextIO) -> LogFormat:
    """The format that was `wanted`; `auto` is text on a terminal and JSON everywhere else."""
    if wanted == "auto":
        return "text" if stream.isatty() else "json"
    return wanted


def configuration(log_format: LogFormat) -> dict[str, Any]:
    """For `logging.config.dictConfig`: every logger writes to the standard error in one format."""
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            **{name: {"level": "INFO"} for name in ("retrievalguard", "uvicorn")},
            "opentelemetry": {"level": "CRITICAL"},  # what is to be said of it, `traces` says
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
    }


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO retrievalguard message [request 4f2a...]`, then a traceback, if any."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line itself, without a traceback."""
        line = super().formatMessage(record)
        found = request_id.get()
        return line if found is None else f"{line} [request {found}]"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, exception, and what `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what JSON cannot hold is written as text, so that no record is lost."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found = request_id.get()
        if found is not None:
            line["request_id"] = found
        line |= {
            name: value for name, value in vars(record).items() if name not in _LEFT_OUT and name not in line
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return _JSON.encode(line)
