"""Write the locks beside this file from the ranges in pyproject.toml.

    make lock            what pyproject.toml now asks for; a pin that still fits stays
    make lock UPGRADE=1  the newest versions in the ranges

A lock holds every package that an extra needs, at one version and with the hashes of its files, for CPython
3.11 on Linux:

    cpu.txt       the service on a processor, with the build of torch that has no CUDA
    cpu-pypi.txt  the same with the build of torch that PyPI holds, for a pip that is told of no other index
    gpu.txt       the service on an NVIDIA GPU
    client.txt    the client alone
    backbones.txt what the extra adds to one of the three
    otel.txt      what the extra adds to one of the three
    postgres.txt  what the extra adds to one of the three
    cluster.txt   what the extra adds to one of the three
    research.txt  what the extra adds to one of the three
    docs.txt      what the extra adds to one of the three
    dev.txt       what the extra adds to one of the three
    uv.txt        uv alone, with which install.py installs the others

All come from one resolution of everything, so any of them go together; but not cpu with gpu, which hold two
builds of FAISS. uv resolves, but does not look where pip does. So pip fetches the CPU build of torch, from
an index or folder that its own configuration names (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS). No lock names an
index.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from install import UV, of_extra

LOCKS = Path(__file__).resolve().parent
PYPROJECT = LOCKS.parent / "pyproject.toml"
HEADER = "# {about}, for CPython 3.11 on Linux. Written by `make lock`: don't edit.\n"
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def main(*, upgrade: bool) -> None:
    """Resolve everything once, then write the part of each lock. All locks are written, or none is."""
    pyproject = tomllib.loads(PYPROJECT.read_text())
    names = pyproject["project"]["optional-dependencies"]
    extras = {name: of_extra(pyproject, name) for name in names}
    # With what builds the package: so the build needs nothing that is not locked.
    base = [*pyproject["project"]["dependencies"], *pyproject["build-system"]["requires"]]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        preferred = "" if upgrade else pins(LOCKS.glob("*.txt"))
        everything = folder / "everything.txt"
        everything.write_text(resolve([*base, *chain(*extras.values())], folder, preferred))
        same = ("--constraints", everything)

        torch = "torch==" + dict(PIN.findall(everything.read_text()))["torch"]
        cpu_torch = ("--find-links", fetched(torch + "+cpu", folder / "wheels"))
        excluded = folder / "excluded.txt"
        excluded.write_text("torch\n")
        besides = (*same, "--excludes", excluded)

        locks = {
            "cpu": resolve([*base, *extras["cpu"], torch + "+cpu"], folder, "", *same, *cpu_torch),
            "cpu-pypi": resolve([*base, *extras["cpu"]], folder, "", *same),
            "gpu": resolve([*base, *extras["gpu"]], folder, "", *same),
            "client": resolve([*base, *extras["client"]], folder, "", *same),
            "backbones": resolve(extras["backbones"], folder, "", *besides),
            "otel": resolve(extras["otel"], folder, "", *besides),
            "postgres": resolve(extras["postgres"], folder, "", *besides),
            "cluster": resolve(extras["cluster"], folder, "", *besides),
            "research": resolve(extras["research"], folder, "", *besides),
            "docs": resolve(extras["docs"], folder, "", *besides),
            "dev": resolve(extras["dev"], folder, "", *besides),
            "uv": resolve([UV], folder, "" if upgrade else pins([LOCKS / "uv.txt"])),
        }
    about = {
        "cpu": "The service on a processor",
        "cpu-pypi": "The service on a processor, with the build of torch that PyPI holds",
        "gpu": "The service on an NVIDIA GPU",
        "client": "The client",
        "backbones": "Encoders of transformers: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "otel": "Traces: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "postgres": "A gallery in PostgreSQL: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "cluster": "Several machines with Ray: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "research": "Training and plots: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "docs": "The documents as a site: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "dev": "Tests and checks: added to cpu.txt, cpu-pypi.txt or gpu.txt",
        "uv": "What installs all others",
    }
    for lock, text in locks.items():
        (LOCKS / f"{lock}.txt").write_text(HEADER.format(about=about[lock]) + text)
        print(f"{lock}.txt: {len(PIN.findall(text))} packages")


def pins(files: Iterable[Path]) -> str:
    """What the files pin, a line NAME==VERSION for each package, without the +BUILD of a version."""
    found = {
        name: version.partition("+")[0] for file in files for name, version in PIN.findall(file.read_text())
    }
    return "".join(f"{name}=={version}\n" for name, version in found.items())


def resolve(requirements: Iterable[str], folder: Path, preferred: str, *options: str | Path) -> str:
    """Pins with hashes for all that the requirements need; of versions that do, the `preferred` ones."""
    lock = folder / "lock.txt"
    lock.write_text(preferred)  # uv prefers what the file that it writes already pins
    run(
        *("-m", "uv", "pip", "compile", "-", "--output-file", lock, "--quiet"),
        *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
        # A source would be built with tools that no lock names.
        *("--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate"),
        *options,
        text="\n".join(requirements),
    )
    return lock.read_text()


def fetched(requirement: str, folder: Path) -> Path:
    """The folder, with the wheel of the requirement that pip found."""
    run(
        *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder),
        *(
            "--only-binary",
            ":all:",
            "--python-version",
            "3.11",
            "--platform",
            "manylinux_2_28_x86_64",
            requirement,
        ),
    )
    return folder


def run(*arguments: str | Path, text: str | None = None) -> None:
    """Run this Python; leave with its status when it fails, for it has said why."""
    done = subprocess.run([sys.executable, *arguments], input=text, text=True)
    if done.returncode:
        sys.exit(f"no lock was changed: {arguments[1]} failed")


if __name__ == "__main__":
    main(upgrade=sys.argv[1:] == ["--upgrade"])
