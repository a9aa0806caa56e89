"""The long form of `test_soundness`: `python -m tests.certify.study OUTPUT.json [--minutes M] [--workers N]`.

Each certificate of `rows` is drawn 10,000 times, in blocks that are kept on the disk as they end: the same
command goes on where an earlier run was stopped, or killed. Sources that decide what comes out begin anew.
"""

import argparse
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from models.code import meaning_digest
from tests.certify.soundness import (
    ALPHA,
    Control,
    Enumeration,
    Outcome,
    Row,
    controls,
    enumerations,
    rows,
)
from tests.resumable import Kept, finish

ROOT = Path(__file__).parents[2]
# In the repository, as nobody has the hours of all of it at once.
STATE = ROOT / "docs" / "soundness.jsonl"
# What decides how a repetition ends.
SOURCES = ("certify", "tests/certify/soundness.py", "tests/certify/worlds.py")


@dataclass(frozen=True)
class Block:
    """Repetitions of a row or a control, with a seed of their own, or an enumeration."""

    of: Row | Enumeration | Control
    number: int
    repetitions: int

    def run(self) -> list[Any]:
        return list(self.of.block(self.number, self.repetitions))


@dataclass(frozen=True)
class Study:
    """What is asked: rows so many `repetitions`, and controls, which show soon, so many as `controlled`."""

    rows: Sequence[Row]
    enumerations: Sequence[Enumeration]
    controls: Sequence[Control]
    repetitions: int = 10_000
    controlled: int = 1_000
    block: int = 250

    def blocks(self) -> Iterator[tuple[str, Block]]:
        """By name, round after round: whenever a run stops, all rows have about as many repetitions."""
        for number in range(math.ceil(max(self.repetitions, self.controlled) / self.block)):
            for kind, whole, asked in (
                ("row", self.rows, self.repetitions),
                ("enumeration", self.enumerations, 1),
                ("control", self.controls, self.controlled),
            ):
                size = min(self.block, asked - number * self.block)
                for place, of in enumerate(whole) if size > 0 else ():
                    yield f"{kind} {place}, {number}", Block(of, number, size)

    def report(self, results: dict[str, list[Any]]) -> dict[str, Any]:
        """What is known of all that has a result."""
        known = [(block.of, results[name]) for name, block in self.blocks() if name in results]

        def sums(some: Row | Control) -> list[int]:
            return [sum(each) for each in zip(*(found for of, found in known if of is some), strict=True)]

        drawn = [(row, sums(row)) for row in self.rows]
        exact = [(of, found) for of, found in known if isinstance(of, Enumeration)]
        broken = [(control, sums(control)) for control in self.controls]
        return {
            "alpha": ALPHA,
            "repetitions": self.repetitions,
            "complete": len(known) == sum(1 for _ in self.blocks()),
            "rows": [_drawn(row, *found) for row, found in drawn if found],
            "exact": [_enumerated(each, *found) for each, found in exact],
            "controls": [_controlled(each, self.controlled, *found) for each, found in broken if found],
        }


def _drawn(row: Row, repetitions: int, violations: int, positive: int) -> dict[str, Any]:
    return row.names | {
        "repetitions": repetitions,
        "violations": violations,
        "share": round(violations / repetitions, 6),
        "upper_99": round(Outcome(repetitions, violations).upper(0.99), 6),
        "positive": round(positive / repetitions, 4),
    }


def _enumerated(of: Enumeration, violation: float, positive: float, neglected: float) -> dict[str, Any]:
    reading = {"reading": "every sample"} if of.counts else {}
    return Row(of.world, of.case).names | reading | {
        "alpha": of.case.alpha,
        "share": round(violation, 6),
        "neglected": round(neglected, 6),
        "positive": round(positive, 4),
    }  # fmt: skip


def _controlled(of: Control, asked: int, repetitions: int, broken: int, whole: int) -> dict[str, Any]:
    """`caught` is None until there are as many repetitions as were asked for."""
    caught = Outcome(repetitions, broken).refutes(ALPHA) and not Outcome(repetitions, whole).refutes(ALPHA)
    return {"control": of.name} | of.row.names | {
        "repetitions": repetitions,
        "share": round(broken / repetitions, 6),
        "share_unbroken": round(whole / repetitions, 6),
        "caught": caught if repetitions == asked else None,
    }  # fmt: skip


def problems(found: dict[str, Any]) -> list[str]:
    """What should not be: alpha exceeded, a control that nothing catches."""
    false = [row for row in found["rows"] if Outcome(row["repetitions"], row["violations"]).refutes(ALPHA)]
    exact = [row for row in found["exact"] if row["share"] + row["neglected"] > row["alpha"]]
    missed = [row for row in found["controls"] if row["caught"] is False]
    return [f"{row}" for row in false + exact + missed]


def to_json(found: dict[str, Any]) -> str:
    """One row a line."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list):
            lines = ",\n".join("    " + json.dumps(row) for row in value)
            parts.append(f'  "{name}": [\n{lines}\n  ]')
        else:
            parts.append(f'  "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def worker() -> None:
    """One thread for numbers, and an end soon after that of the run, which may be killed."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    threadpool_limits(1)


def main(study: Study, arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.certify.study")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no block after so many")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="one a core if not given")
    parser.add_argument("--state", type=Path, default=STATE, help="where blocks are kept")
    asked = parser.parse_args(arguments)
    sources = meaning_digest(ROOT, SOURCES)[:16]
    kept = Kept(asked.state)
    blocks = {f"{sources} {name}": block for name, block in study.blocks()}
    done = len(blocks.keys() & kept.results.keys())
    others = sum(not key.startswith(sources) for key in kept.results)
    print(f"{done} of {len(blocks)} blocks are there; {others} of other sources are not used", flush=True)
    context = get_context("forkserver")
    context.set_forkserver_preload([Row.__module__])
    with ProcessPoolExecutor(asked.workers, context, worker) as pool:
        for key, _ in finish(
            blocks.items(), Block.run, kept, pool, workers=asked.workers, minutes=asked.minutes
        ):
            done += 1
            print(f"{done} of {len(blocks)}: {key}: {kept.results[key]}", flush=True)
    found = study.report({key.removeprefix(f"{sources} "): each for key, each in kept.results.items()})
    asked.output.write_text(to_json(found))
    largest = max((row["upper_99"] for row in found["rows"]), default=None)
    print(f"{asked.output}: complete: {found['complete']}; largest upper bound: {largest}")
    if wrong := problems(found):
        sys.exit("\n".join(["not as it should be:", *wrong]))


if __name__ == "__main__":
    main(Study(list(rows()), list(enumerations()), list(controls())))
