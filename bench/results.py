"""Where benchmarks leave their figures: one small JSON file each, committed with the code they measured."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(name: str, report: dict[str, Any]) -> None:
    """Write `report` to bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")


@contextmanager
def run_noted(report: dict[str, Any]) -> Iterator[None]:
    """Add to `report` at the end how busy the machine was before and after, seconds, and cores."""
    load, began = os.getloadavg()[0], time.monotonic()
    try:
        yield
    finally:
        report["load"] = [round(each, 1) for each in (load, os.getloadavg()[0])]
        report["seconds"] = round(time.monotonic() - began)
        report["cores"] = len(os.sched_getaffinity(0))
