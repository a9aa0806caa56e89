"""Results that outlive their process: a run that is cut short goes on, with the same figures."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Result(Protocol):
    """What came of one query: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> str:
        """The query's."""


Found = TypeVar("Found", bound=Result)


class OtherExperiment(Exception):
    """The results that were kept are of another experiment; the message says what to do."""


class Kept(Generic[Found]):
    """Results in a file, a line a query, on disk as soon as they are there.

    `experiment` is a digest of all that decides a result, `read` makes one of its members. A last line that
    was cut short is forgotten. Numbers are written so that reading them gives the very same ones. Raises
    `OtherExperiment` for a file of another.
    """

    def __init__(self, path: Path, experiment: str, read: Callable[..., Found]) -> None:
        self._results: dict[str, Found] = {}
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if whole and json.loads(whole[0]) != {"experiment": experiment}:
            raise OtherExperiment(
                f"{path} holds the results of another experiment, or of other code: delete"
                f" {path.parent.parent}, or name another --json"
            )
        for line in whole[1:]:
            result = read(**json.loads(line))
            self._results[result.id] = result
        self._file = path.open("a" if len(whole) == len(lines) else "w")
        if len(whole) < len(lines):
            self._file.writelines(whole)
        if not whole:
            self._write({"experiment": experiment})

    def __getitem__(self, id_: str) -> Found | None:
        return self._results.get(id_)

    def add(self, result: Found) -> None:
        """Keep one more."""
        self._write(asdict(result))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
