"""Install what extras of the project need, at the locked versions.

    python requirements/install.py [--quiet] cpu research dev

The locks beside this file are for CPython 3.11 on Linux; `make lock` writes them. The hash of every file is
checked. Any other Python or system gets the newest versions in the ranges of pyproject.toml, and a line
says so. The project itself is not installed. Options are passed on to pip.

uv installs what is locked, many times as fast as pip. pip fetches uv, by a lock of its own, for this run,
and installs everything itself where there is no uv for the machine, where pip has options or settings that
are not known to mean the same to uv, and where uv fails.

torch has two builds of each version. The one without CUDA is a tenth as large, but PyPI does not hold it,
so `cpu.txt` asks for it by name: torch==X+cpu. Where pip finds no such file, `cpu-pypi.txt` has the same
pins with PyPI's build. One pin with the hashes of both would not do: pip prefers a file whose hash the
index states, and so takes the large one from PyPI although the small one lies in a local folder.
"""

import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pip_settings import in_uv

LOCKS = Path(__file__).resolve().parent
PYPROJECT = LOCKS.parent / "pyproject.toml"
LOCKED = "CPython 3.11 on Linux"
MACHINES = ("x86_64", "aarch64")
UV = "uv>=0.10,<1"


def main(extras: list[str], options: list[str]) -> None:
    """Install what the extras need into the environment of this Python; leave with pip's status."""
    if unknown := [extra for extra in extras if not (LOCKS / f"{extra}.txt").exists()]:
        sys.exit(f"there is no extra {unknown[0]!r} in {LOCKS}")
    release = ".".join(platform.python_version_tuple()[:2])
    here = f"{platform.python_implementation()} {release} on {platform.system()}"
    if here == LOCKED and platform.machine() in MACHINES:
        names = locks(extras, platform.machine(), offered)
        print(f"Installing from requirements/: {', '.join(names)}", flush=True)
        # The locks are whole. Left to look for what they need, pip takes `coverage[toml]` for unpinned as
        # soon as there is a newer version than the pinned `coverage`.
        what = ["--no-deps", "--require-hashes", *(f"--requirement={LOCKS / name}" for name in names)]
        if set(options) <= {"--quiet"} and uv(*options, *what):
            compile_all()
            return
    else:
        print(
            f"The locks are for {LOCKED} ({' or '.join(MACHINES)}); this is {here} ({platform.machine()}): "
            "installing the newest versions that pyproject.toml allows",
            flush=True,
        )
        if not PYPROJECT.exists():
            sys.exit(f"{PYPROJECT} is not there")
        what = ranges(tomllib.loads(PYPROJECT.read_text()), extras)
    sys.exit(pip("install", *options, *what).returncode)


def locks(extras: Iterable[str], machine: str, is_offered: Callable[[str], bool]) -> list[str]:
    """The file of each extra. `is_offered` tells whether pip finds NAME==VERSION."""
    return [_cpu_lock(machine, is_offered) if extra == "cpu" else f"{extra}.txt" for extra in extras]


def _cpu_lock(machine: str, is_offered: Callable[[str], bool]) -> str:
    torch = re.search(r"^torch==\S+", (LOCKS / "cpu.txt").read_text(), re.MULTILINE)
    if machine == "x86_64" and torch and is_offered(torch[0]):  # the hash is that of the build for x86_64
        return "cpu.txt"
    print(
        "pip finds no CPU build of torch: taking the one of PyPI, with gigabytes of CUDA. "
        "PIP_EXTRA_INDEX_URL can name an index of CPU builds (on x86_64)."
    )
    return "cpu-pypi.txt"


def offered(requirement: str) -> bool:
    """Whether pip finds a file for NAME==VERSION where it looks. It downloads none."""
    name, _, version = requirement.partition("==")
    return version in re.split(r"[\s,()]+", pip("index", "versions", name, capture=True).stdout)


def ranges(pyproject: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """What pyproject.toml asks for: to build the project, to run it, and for the extras."""
    asked = [*pyproject["build-system"]["requires"], *pyproject["project"]["dependencies"]]
    return [*asked, *(requirement for extra in extras for requirement in of_extra(pyproject, extra))]


def of_extra(pyproject: dict[str, Any], extra: str) -> list[str]:
    """What an extra needs, with what the extras that it names need."""
    found = []
    for requirement in pyproject["project"]["optional-dependencies"][extra]:
        other = re.fullmatch(r"retrievalguard\[(\w+)\]", requirement)
        found += of_extra(pyproject, other[1]) if other else [requirement]
    return found


def uv(*arguments: str) -> bool:
    """Whether uv installed it."""
    told = in_uv(pip("config", "list", capture=True).stdout)
    if told is None:
        return False
    options, variables = told
    with tempfile.TemporaryDirectory(prefix="retrievalguard-uv-") as folder:
        own = (
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            f"--requirement={LOCKS / 'uv.txt'}",
        )
        if pip("install", *own, f"--target={folder}", capture=True).returncode:
            return False
        # Whichever index has a file: the hash decides whether it is the right one.
        where = (f"--python={sys.executable}", "--index-strategy=unsafe-best-match")
        command = [f"{folder}/bin/uv", "pip", "install", *where, *options, *arguments]
        try:
            failed = subprocess.run(command, env=os.environ | variables).returncode
        except OSError as reason:  # a folder for temporary files may forbid that they are run
            failed = str(reason)
    if failed:
        print(f"uv did not install it ({failed}): pip tries", flush=True)
    return not failed


def compile_all() -> None:
    """Byte code of all that is installed, as pip leaves it; some files are for other Pythons and have none.

    On all processors. uv would give up where a busy machine takes a minute for a file.
    """
    packages = sysconfig.get_path("purelib")
    subprocess.run([sys.executable, "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", packages])


def pip(*arguments: str, capture: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run the pip of this Python. What it prints is shown, or with `capture` comes back."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if capture:
        loud = {name: value for name, value in os.environ.items() if name != "PIP_QUIET"}
        return subprocess.run(command, text=True, capture_output=True, env=loud)
    return subprocess.run(command, text=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main([word for word in given if word[0] != "-"], [word for word in given if word[0] == "-"])
