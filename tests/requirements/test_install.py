"""`requirements/install.py` takes the lock that fits the machine, or says that none does."""

import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "requirements" / "install.py"
SETTINGS = runpy.run_path(str(SCRIPT.with_name("pip_settings.py")))


@pytest.fixture(scope="module")
def script() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        yield runpy.run_path(str(SCRIPT))


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
    (command,) = commands(script, monkeypatch)
    assert "--require-hashes" not in command
    assert {"numpy>=2,<3", "pytest>=8.3,<10"} <= set(command)
    assert not any(word.startswith("matplotlib") for word in command)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "CPython 3.11 on Linux" in said


FILES = [f"--requirement={SCRIPT.parent / name}" for name in ("gpu.txt", "dev.txt")]


def test_where_the_locks_fit_uv_installs_with_hashes_and_pip_checks_the_hash_of_uv(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_locked(monkeypatch)
    asked, fetched, installed, compiled = commands(script, monkeypatch)
    assert asked[-2:] == ["config", "list"]
    assert {"install", "--require-hashes", f"--requirement={SCRIPT.parent / 'uv.txt'}"} <= set(fetched)
    assert installed[0].endswith("/bin/uv")
    assert f"--python={sys.executable}" in installed
    assert "--find-links=/a" in installed
    assert installed[-4:] == ["--no-deps", "--require-hashes", *FILES]
    assert "compileall" in compiled


@pytest.mark.parametrize("failing", ["uv.txt", "/bin/uv"])
def test_where_there_is_no_uv_or_it_fails_pip_installs_the_same(
    failing: str, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_locked(monkeypatch)
    last = commands(script, monkeypatch, failing=failing)[-1]
    assert last[1:3] == ["-m", "pip"]
    assert last[-4:] == ["--no-deps", "--require-hashes", *FILES]


def test_options_that_only_pip_knows_are_passed_on_to_it(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_locked(monkeypatch)
    (command,) = commands(script, monkeypatch, "--dry-run", "--quiet")
    assert command[-7:] == ["install", "--dry-run", "--quiet", "--no-deps", "--require-hashes", *FILES]


@pytest.mark.parametrize(
    ("listed", "options", "variables"),
    [
        ("", [], {}),
        (
            "global.index-url='https://a/simple'\n:env:.extra-index-url='https://b  https://c'\n"
            "install.constraint='/d.txt'\n:env:.cert='/e.pem'\nglobal.timeout='9'\nglobal.retries='2'\n",
            [
                "--default-index=https://a/simple",
                "--index=https://b",
                "--index=https://c",
            ],
            {"SSL_CERT_FILE": "/e.pem", "UV_HTTP_TIMEOUT": "9"},
        ),
        (
            ":env:.find-links='/env'\nglobal.find-links='/global'\ninstall.find-links='/install'\n",
            ["--find-links=/env"],
            {},
        ),
        ("global.no-index='true'\nglobal.no-cache-dir='off'\n", ["--no-index"], {}),
        ("download.platform='any'\n", [], {}),
    ],
)
def test_what_pip_was_told_is_told_to_uv(listed: str, options: list[str], variables: dict[str, str]) -> None:
    assert SETTINGS["in_uv"](listed) == (options, variables)


@pytest.mark.parametrize("listed", ["global.proxy='http://p'", ":env:.target='/t'", "install.user='true'"])
def test_with_a_setting_that_uv_may_not_know_pip_installs(
    listed: str, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_locked(monkeypatch)
    asked, installed = commands(script, monkeypatch, listed=listed)
    assert asked[-2:] == ["config", "list"]
    assert installed[1:3] == ["-m", "pip"]


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


def commands(
    script: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
    listed: str = ":env:.find-links='/a'",
    failing: str = "none",
) -> list[Sequence[str]]:
    """What is run to install `gpu` and `dev`: nothing does run. `failing`: in the command that fails."""
    found: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: object) -> "subprocess.CompletedProcess[str]":
        found.append(command)
        return subprocess.CompletedProcess(command, any(failing in word for word in command), listed)

    monkeypatch.setattr("subprocess.run", run)
    with suppress(SystemExit):
        script["main"](["gpu", "dev"], list(options))
    return found
