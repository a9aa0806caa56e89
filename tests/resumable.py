"""Long studies in pieces, each of which is kept: a run that was stopped, or killed, is gone on with."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """Results by key, in a file of one JSON object a line; what `keep` was given is on the disk.

    A key names all that its result depends on, digests of sources included: a result of other sources is
    never asked for. Reading passes over a line that a killed run did not finish.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.results: dict[str, Any] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text() if file.exists() else ""
        for line in text.splitlines():
            try:
                self.results.update(json.loads(line))
            except ValueError:
                continue
        if text and not text.endswith("\n"):
            with file.open("a") as end:
                end.write("\n")

    def keep(self, key: str, found: Any) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({key: found}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.results[key] = found


def finish(
    tasks: Iterable[tuple[str, T]],
    work: Callable[[T], Any],
    kept: Kept,
    pool: Executor,
    *,
    workers: int,
    minutes: float,
) -> Iterator[tuple[str, T]]:
    """`work` on those of `tasks` (key, task) that have no result yet, in their order, `workers` at a time.

    Each is yielded once its result is kept. None is begun after so many minutes.
    """
    until = time.monotonic() + 60 * minutes
    running: dict[Future[Any], tuple[str, T]] = {}

    def ended(at_most: int) -> Iterator[tuple[str, T]]:
        while len(running) > at_most:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key, task = running.pop(future)
                kept.keep(key, future.result())
                yield key, task

    for key, task in tasks:
        if key in kept.results:
            continue
        yield from ended(workers - 1)
        if time.monotonic() >= until:
            break
        running[pool.submit(work, task)] = key, task
    yield from ended(0)
