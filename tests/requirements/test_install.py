"""`requirements/install.py` takes the lock that fits the machine, or says that none does."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "requirements" / "install.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def always(answer: bool) -> Callable[[str], bool]:
    return lambda requirement: answer


def test_where_pip_finds_the_cpu_build_it_is_asked_for_by_name(script: dict[str, Any]) -> None:
    asked = []

    def offered(requirement: str) -> bool:
        asked.append(requirement)
        return True

    assert script["locks"](["cpu", "research", "dev"], "x86_64", offered) == [
        "cpu.txt",
        "research.txt",
        "dev.txt",
    ]
    assert [name.partition("==")[0] for name in asked] == ["torch"]
    assert asked[0].endswith("+cpu")


@pytest.mark.parametrize(("machine", "offered"), [("x86_64", False), ("aarch64", True), ("aarch64", False)])
def test_elsewhere_the_build_of_pypi_is_taken_and_a_line_says_so(
    script: dict[str, Any], machine: str, offered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script["locks"](["cpu", "dev"], machine, always(offered)) == ["cpu-pypi.txt", "dev.txt"]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "PIP_EXTRA_INDEX_URL" in said


def test_a_gpu_needs_no_other_build(script: dict[str, Any]) -> None:
    assert script["locks"](["gpu"], "x86_64", always(False)) == ["gpu.txt"]


def test_an_unknown_extra_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "cpu", "tpu"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "'tpu'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("python_version_tuple", ("3", "12", "1")),
        ("python_implementation", "PyPy"),
        ("system", "Darwin"),
        ("machine", "riscv64"),
    ],
)
def test_on_another_python_or_system_ranges_are_installed_and_a_line_says_so(
    script: dict[str, Any],
    fact: str,
    value: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_locked(monkeypatch)
    monkeypatch.setattr(f"platform.{fact}", lambda: value)
    command = pip_command(script, monkeypatch)
    assert "--require-hashes" not in command
    assert {"numpy>=2,<3", "pytest>=8.3,<10"} <= set(command)
    assert not any(word.startswith("matplotlib") for word in command)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "CPython 3.11 on Linux" in said


def test_where_the_locks_fit_hashes_are_required(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_locked(monkeypatch)
    command = pip_command(script, monkeypatch, "gpu", "dev")
    files = [f"--requirement={SCRIPT.parent / name}" for name in ("gpu.txt", "dev.txt")]
    assert command[-3:] == ["--require-hashes", *files]


def test_pip_is_asked_what_it_finds_even_when_it_is_told_to_be_quiet(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rgthing-1.5+cpu-py3-none-any.whl").touch()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_QUIET": "1"}.items():
        monkeypatch.setenv(name, value)
    assert script["offered"]("rgthing==1.5+cpu")
    assert not script["offered"]("rgthing==1.5")
    assert not script["offered"]("rgother==1.5+cpu")


def on_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "python_version_tuple": ("3", "11", "9"),
        "python_implementation": "CPython",
        "system": "Linux",
        "machine": "x86_64",
    }
    for fact, value in facts.items():
        monkeypatch.setattr(f"platform.{fact}", lambda value=value: value)


def pip_command(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *extras: str) -> list[str]:
    """What is asked of pip, which does not run."""
    commands = []

    def run(command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(SystemExit) as left:
        script["main"](list(extras or ("gpu", "dev")), [])
    assert left.value.code == 0
    assert len(commands) == 1
    return commands[0]
