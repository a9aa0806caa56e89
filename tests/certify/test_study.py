"""The long study of soundness, on little: a run that is killed is gone on with, to the same figures."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.certify.soundness import ALPHA, Case, Control, Enumeration, Row, no_ball
from tests.certify.study import Study, main, problems, to_json

ROOT = Path(__file__).parents[2]
SMALL = Study(
    [Row(world, Case(method="bisector", n=200)) for world in ("staircase", "half-space, few samples")],
    [Enumeration("half-space, few samples", Case(method="bisector", guarantee="item", n=60))],
    [Control(no_ball, Row("half-space, radius 0", Case(method="bisector")))],
    repetitions=25,
    controlled=10,
    block=10,
)
# The process dies once the third block is kept, with all that it has begun.
KILLED = """
import os, signal
from tests.certify import study, test_study
from tests.resumable import Kept

keep = Kept.keep

def keep_and_die(kept, key, found):
    keep(kept, key, found)
    if len(kept.results) == 3:
        os.killpg(0, signal.SIGKILL)

Kept.keep = keep_and_die
if __name__ == "__main__":
    study.main(test_study.SMALL)
"""


def test_a_run_that_was_killed_goes_on_and_finds_what_one_in_a_piece_does(tmp_path: Path) -> None:
    state, resumed, whole = tmp_path / "state.jsonl", tmp_path / "resumed.json", tmp_path / "whole.json"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, resumed, "--state", state, "--workers", "1"],
        cwd=ROOT, start_new_session=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert not resumed.exists()
    begun = state.read_text()
    assert len(begun.splitlines()) == 3
    state.write_text(begun + '{"half a li')

    main(SMALL, [str(resumed), "--state", str(state), "--workers", "1"])
    main(SMALL, [str(whole), "--state", str(tmp_path / "other.jsonl"), "--workers", "2"])

    assert state.read_text().startswith(begun)
    assert resumed.read_text() == whole.read_text()
    found = json.loads(whole.read_text())
    assert found["complete"]
    assert [row["repetitions"] for row in found["rows"] + found["controls"]] == [25, 25, 10]


def test_a_run_of_no_minutes_reports_what_is_there(tmp_path: Path) -> None:
    output, state = tmp_path / "found.json", tmp_path / "state.jsonl"
    main(SMALL, [str(output), "--state", str(state), "--minutes", "0"])
    found = json.loads(output.read_text())
    assert not found["complete"]
    assert found["rows"] == found["exact"] == found["controls"] == []


def test_blocks_go_round_so_that_all_rows_grow_alike() -> None:
    names = [name for name, _ in SMALL.blocks()]
    assert names == [
        "row 0, 0", "row 1, 0", "enumeration 0, 0", "control 0, 0",
        "row 0, 1", "row 1, 1", "row 0, 2", "row 1, 2",
    ]  # fmt: skip
    assert [block.repetitions for name, block in SMALL.blocks() if name.startswith("row 0")] == [10, 10, 5]


def test_the_study_reports_what_should_not_be() -> None:
    row = Row("staircase", Case()).names
    fine = {
        "alpha": ALPHA,
        "rows": [row | {"repetitions": 1000, "violations": 60}],
        "exact": [row | {"alpha": 0.5, "share": 0.4, "neglected": 0.001}],
        "controls": [row | {"caught": True}, row | {"caught": None}],
    }
    assert problems(fine) == []
    assert len(problems(fine | {"rows": [row | {"repetitions": 1000, "violations": 90}]})) == 1
    assert len(problems(fine | {"exact": [row | {"alpha": 0.05, "share": 0.0499, "neglected": 0.001}]})) == 1
    assert len(problems(fine | {"controls": [row | {"caught": False}]})) == 1
    assert json.loads(to_json(fine)) == fine
