"""Where benchmarks leave their figures: one small JSON file each, committed with the code they measured."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(name: str, report: dict[str, Any]) -> None:
    """Write `report` to bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
