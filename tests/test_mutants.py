"""Mutants change what they mean to change: one place each, and in a way that Python can run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import FIRST, MUTANTS, ROOT, Mutant, judge, meaning


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.what}")
def test_what_a_mutant_changes_is_found_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.tests


def test_no_mutant_fails_for_a_name_or_a_sign_that_is_not_there(tmp_path: Path) -> None:
    """Any test would notice that, whatever it tests."""
    for number, mutant in enumerate(MUTANTS):
        source = (ROOT / mutant.file).read_text().replace(mutant.old, mutant.new)
        (tmp_path / f"mutant_{number}.py").write_text(source)
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823,E9", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


def test_no_two_mutants_have_one_name() -> None:
    assert len({(mutant.file, mutant.what) for mutant in MUTANTS}) == len(MUTANTS)


def test_tests_that_come_first_are_there() -> None:
    assert all((ROOT / test).exists() for test in FIRST.values())
    assert FIRST.keys() <= {mutant.file for mutant in MUTANTS}


def test_a_verdict_rests_on_the_test_that_noticed_or_on_all_that_did_not() -> None:
    mutant = MUTANTS[0]
    one, other = mutant.tests[:2]
    noticed = {"caught": True, "by": f"{one}::test_of_something"}
    assert mutant.rests_on(noticed) == meaning(one) != meaning(other)
    for unnoticed in ({"caught": False, "by": "2 passed"}, {"caught": True, "by": "no end within 9 s"}):
        assert mutant.rests_on(unnoticed) == meaning(*mutant.tests) != meaning(one)


def test_a_mutant_is_caught_or_missed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """In a tree with one module of one line, and one test of it."""
    module, test = tmp_path / "certify" / "ball.py", tmp_path / "tests" / "certify" / "test_ball.py"
    for file, text in (
        (tmp_path / "pyproject.toml", "[tool.pytest.ini_options]\n"),
        (tmp_path / "tests" / "unshrunk.py", (ROOT / "tests" / "unshrunk.py").read_text()),
        (module, "SIGN, NOBODY_ASKS = 1, 1\n"),
        (test, "def test_sign():\n    from certify.ball import SIGN\n    assert SIGN == 1\n"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    before = module.stat().st_mtime_ns

    class Small(Mutant):
        @property
        def tests(self) -> list[str]:
            return [str(test)]

    caught = judge(Small("certify/ball.py", "the sign", "= 1, 1", "= -1, 1"), tmp_path)
    assert caught == {"caught": True, "by": "tests/certify/test_ball.py::test_sign"}
    assert (
        judge(Small("certify/ball.py", "what nobody asks", "= 1, 1", "= 1, 2"), tmp_path)["caught"] is False
    )
    assert module.read_text() == "SIGN, NOBODY_ASKS = 1, 1\n"
    assert module.stat().st_mtime_ns == before
