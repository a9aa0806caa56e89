"""The locks hold what pyproject.toml asks for, with hashes, and send nobody to an index."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FILES = {file.stem: file for file in (ROOT / "requirements").glob("*.txt")}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
BASE = PYPROJECT["project"]["dependencies"] + PYPROJECT["build-system"]["requires"]
# Its requirements are part of `cpu` and `gpu`, which name it.
SERVICE = BASE + EXTRAS["service"]
CPU_BUILD = "cpu"


def own(requirements: list[str]) -> list[str]:
    """Without the extra `service`, which must be the first."""
    assert requirements[0] == "retrievalguard[service]"
    return requirements[1:]


# What each lock must hold. The six before the last are installed beside a lock of the service.
NEEDS = {
    "cpu": [*SERVICE, *own(EXTRAS["cpu"])],
    "cpu-pypi": [*SERVICE, *own(EXTRAS["cpu"])],
    "gpu": [*SERVICE, *own(EXTRAS["gpu"])],
    "client": [*BASE, *EXTRAS["client"]],
    "backbones": EXTRAS["backbones"],
    "otel": EXTRAS["otel"],
    "postgres": EXTRAS["postgres"],
    "cluster": EXTRAS["cluster"],
    "research": EXTRAS["research"],
    "docs": EXTRAS["docs"],
    "dev": EXTRAS["dev"],
    "uv": ["uv>=0.10,<1"],
}
LINUX = {**default_environment(), "sys_platform": "linux", "python_version": "3.11"}


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str
    version: Version
    hashes: tuple[str, ...]


def entries(lock: str) -> list[str]:
    """The requirements of a lock: comments gone, continued lines joined."""
    lines = [line for line in FILES[lock].read_text().splitlines() if not line.startswith("#")]
    return [entry for entry in "\n".join(lines).replace("\\\n", " ").split("\n") if entry.strip()]


def pins(lock: str) -> dict[str, Pin]:
    found = {}
    for entry in entries(lock):
        requirement, *hashes = entry.split()
        name, version = requirement.split("==")
        found[name] = Pin(name, Version(version), tuple(hashes))
    return found


def unmet(requirements: Iterable[str], held: dict[str, Pin]) -> list[str]:
    """The requirements that no pin satisfies."""
    missing = []
    for requirement in map(Requirement, requirements):
        pin = held.get(canonicalize_name(requirement.name))
        needed = requirement.marker is None or requirement.marker.evaluate({**LINUX, "extra": ""})
        if needed and (pin is None or not requirement.specifier.contains(pin.version, prereleases=True)):
            missing.append(f"{requirement}, but {pin and pin.version}")
    return missing


def test_each_extra_has_a_lock_and_no_lock_is_of_nothing() -> None:
    assert set(FILES) == set(NEEDS)
    assert set(EXTRAS) - {"service"} <= set(FILES)


@pytest.mark.parametrize("lock", sorted(NEEDS))
def test_a_lock_satisfies_what_pyproject_asks_for(lock: str) -> None:
    assert not unmet(NEEDS[lock], pins(lock)), "run `make lock`"


@pytest.mark.parametrize("lock", sorted(NEEDS))
def test_every_line_is_one_version_with_the_hashes_of_its_files_and_nothing_else(lock: str) -> None:
    for entry in entries(lock):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.+]*( +--hash=sha256:[0-9a-f]{64})+ *", entry), entry


@pytest.mark.parametrize("lock", sorted(NEEDS))
def test_no_line_names_a_host_or_an_address(lock: str) -> None:
    for line in FILES[lock].read_text().splitlines():
        assert not re.search(
            r"://|@|--(index|extra-index|find-links|trusted)|\b\w+\.(org|com|io|net)\b", line
        ), line


def test_a_package_has_one_version_and_the_same_files_in_all_locks() -> None:
    seen: dict[str, Pin] = {}
    for lock in sorted(NEEDS):
        for name, pin in pins(lock).items():
            if pin.version.local != CPU_BUILD:
                assert seen.setdefault(name, pin) == pin, f"{name} in {lock}.txt"
    assert pins("cpu")["torch"].version.public == str(seen["torch"].version)


def test_only_the_locks_for_other_builds_hold_cuda() -> None:
    def cuda(lock: str) -> set[str]:
        return {name for name in pins(lock) if name.startswith(("nvidia-", "cuda-", "triton"))}

    for lock in ("cpu", "backbones", "otel", "postgres", "cluster", "research"):
        assert not cuda(lock)
    assert cuda("dev") == {"triton"}  # which compiles and interprets without a GPU
    assert cuda("cpu-pypi") < cuda("gpu")
    assert set(pins("cpu")) == set(pins("cpu-pypi")) - cuda("cpu-pypi")


@pytest.mark.parametrize("lock", ["cpu", "cpu-pypi", "gpu"])
def test_serving_installs_no_library_of_research(lock: str) -> None:
    assert not {"matplotlib", "pytorch-metric-learning", "scikit-learn"} & set(pins(lock))


def test_the_client_needs_nothing_of_the_service() -> None:
    assert not {canonicalize_name(Requirement(one).name) for one in EXTRAS["service"]} & set(pins("client"))


def test_the_locks_are_told_from_one_that_lacks_a_package_or_has_an_old_one() -> None:
    held = {"fastapi": Pin("fastapi", Version("0.1"), ())}
    assert unmet(["fastapi>=0.135,<1", "redis>=6"], held) == [
        "fastapi<1,>=0.135, but 0.1",
        "redis>=6, but None",
    ]
