"""The house itself: a stranger who guesses where a thing lives is right, and what is said of it is true."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrievalguard
from tests.house import rooms

ROOT = Path(__file__).parents[2]
PACKAGES = ("retrievalguard", "service", "models", "index", "certify", "evaluation", "bench")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def module(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Every docstring of a module, with the name of what it is of."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                yield getattr(node, "name", "the module"), found


def test_the_drawing_in_the_documents_is_the_code() -> None:
    assert rooms.text() in ARCHITECTURE, (
        "run: python -m tests.house.rooms, and put it into docs/architecture.md"
    )


@pytest.mark.parametrize("house", rooms.houses(), ids=lambda house: house.name)
def test_every_import_between_rooms_goes_down(house: rooms.House) -> None:
    below: set[str] = set()
    for level in reversed(house.levels):
        for room in level:
            assert house.imports[room] <= below
        below |= set(level)


@pytest.mark.parametrize(
    "package", [path.parent for path in MODULES if path.name == "__init__.py"], ids=module
)
def test_every_room_says_what_belongs_in_it_and_what_does_not(package: Path) -> None:
    said = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    if package.name in ("routes", "pretrained"):
        return  # part of a room that says it
    assert "Belongs here:" in said
    assert re.search(r"Does not:|does not", said)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_every_module(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.stem}\b", ARCHITECTURE), f"{module(path)} is not on the map"


def test_no_public_class_name_stands_for_two_things() -> None:
    homes = defaultdict(list)
    for path in MODULES:
        if "client" in path.parts:  # which stands alone, and names what the service names
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module(path))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_references_in_docstrings_resolve(path: Path) -> None:
    for name, said in docstrings(path):
        for file in re.findall(r"\b(?:docs|models|service|index|certify|tests|docker)/[\w/.-]+\.\w+", said):
            assert (ROOT / file).exists(), f"{name} refers to {file}"
        for dotted in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", said):
            assert resolves(dotted), f"{name} refers to {dotted}"
        for number in re.findall(r"docs/certificate\.md,? §(\d+(?:\.\d+)?)", said):
            assert re.search(rf"^#+ {re.escape(number)}\.? ", CERTIFICATE, re.M), (
                f"{name} refers to §{number}"
            )
        for loose in re.findall(r"§[\d.]+", re.sub(r"docs/certificate\.md,? §[\d.]+", "", said)):
            raise AssertionError(f"{name} refers to {loose}, of no document that it names")


CERTIFICATE = (ROOT / "docs" / "certificate.md").read_text()


def resolves(dotted: str) -> bool:
    """Whether `dotted` is a module of ours, or a name (of a name) in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        if ".".join(parts[:cut]) in NAMES:
            path = ROOT.joinpath(*parts[:cut])
            source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
            return all(re.search(rf"\b{part}\b", source) for part in parts[cut:])
    return False


@pytest.mark.parametrize("path", TESTS, ids=module)
def test_no_test_module_imports_from_a_test_module(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if node.module.startswith("tests"):
                assert not any(name.split(".")[-1].startswith("test_") for name in names)


def test_every_public_name_is_offered_and_documented() -> None:
    api = (ROOT / "docs" / "api.md").read_text()
    for name in retrievalguard.__all__:
        found = getattr(retrievalguard, name)
        assert f"`{name}`" in api, f"{name} is not in docs/api.md"
        assert name == "__version__" or found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Retreiver'"):
        _ = retrievalguard.Retreiver  # type: ignore[attr-defined]


LOADED = """
import sys
{action}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def loaded_by(action: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after `action`."""
    finished = subprocess.run(
        [sys.executable, "-c", LOADED.format(action=action)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(finished.stdout.splitlines()[-1].split())


HEAVY = {
    "torch",
    "faiss",
    "numpy",
    "scipy",
    "sklearn",
    "fastapi",
    "uvicorn",
    "pydantic",
    "matplotlib",
    "openvino",
}


# Typer's own help of a command loads it.
HELPED = {"pydantic"}


@pytest.mark.parametrize("arguments", ["--help", "--version", "serve --help", "evaluate --help"])
def test_help_and_version_load_nothing_heavy(arguments: str) -> None:
    action = (
        f"import sys; sys.argv[1:] = {arguments.split()!r}\n"
        "from retrievalguard.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stopped:\n    assert not stopped.code, stopped.code"
    )
    assert loaded_by(action) & HEAVY <= HELPED


def test_importing_the_front_door_loads_nothing_heavy() -> None:
    assert loaded_by("import retrievalguard; retrievalguard.__version__") & HEAVY == set()


def test_settings_are_read_before_anything_heavy() -> None:
    assert loaded_by("from retrievalguard import Settings; Settings.from_environment()") & HEAVY == {
        "pydantic"
    }


GLOBAL = """
import os, signal, sys, logging
import torch, numpy, scipy.linalg, PIL.Image, PIL.ImageFile, PIL.PngImagePlugin
import faiss
from threadpoolctl import threadpool_info

def state():
    x = numpy.ones((64, 64)) @ numpy.ones((64, 64))
    return {{
        "blas threads": sorted((p["filepath"], p["num_threads"]) for p in threadpool_info()),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled()),
        "torch random": torch.get_rng_state().tolist(),
        "numpy": (numpy.geterr(), numpy.random.get_state()[1].tolist()),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "pillow png": PIL.PngImagePlugin.MAX_TEXT_CHUNK,
        "faiss threads": faiss.omp_get_max_threads(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "logging": (logging.getLogger().level, logging.getLogger().handlers[:]),
        "environment": dict(os.environ),
        "affinity": os.sched_getaffinity(0),
        "recursion": sys.getrecursionlimit(),
        "umask": (os.umask(0o22), os.umask(0o22))[1],
        "folder": os.getcwd(),
        "excepthook": sys.excepthook,
    }}

before = state()
{action}
after = state()
changed = {{name: (before[name], after[name]) for name in before if before[name] != after[name]}}
assert not changed, changed
"""

IMPORT = """
import retrievalguard
for name in retrievalguard.__all__:
    getattr(retrievalguard, name)
"""

OPEN = """
import pathlib
from retrievalguard import Retriever, Settings
from service.gallery.sources import sources
import dataclasses
found = sources("digits")
retriever = Retriever.open(Settings(data_dir=pathlib.Path({data!r}), samples=256, gallery_samples=128))
retriever.intake.add(dataclasses.replace(found, sources=found.sources[:8]))
retriever.retrieve(numpy.zeros(retriever.model.input_shape, numpy.float32))
retriever.close()
"""


def changes_nothing(action: str) -> None:
    subprocess.run([sys.executable, "-c", GLOBAL.format(action=action)], check=True, timeout=120)


def test_importing_everything_public_changes_nothing_global() -> None:
    changes_nothing(IMPORT)


def test_opening_a_retriever_filling_and_asking_it_changes_nothing_global(tmp_path: Path) -> None:
    changes_nothing(OPEN.format(data=str(tmp_path)))
