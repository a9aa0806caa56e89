"""Digests of source code: what an older version of this program computed is not taken for today's.

Two of them. Answers are cheap to work out again, so they are keyed by every byte (`code_digest`). Samples
and gallery vectors are not: they are keyed by what the code behind them means (`embedding_code`), so that a
comment does not embed a million items anew.
"""

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from models.noise import length_prefixed

# What decides the value of a sample, given the weights and the secret: the network, the ways to run it, the
# noise, and how both meet. Files and folders of this package.
EMBEDDING = (
    "manifest.py",
    "model.py",
    "networks",
    *(f"noise/{name}.py" for name in ("chacha", "device", "digests", "grid", "keyed", "normal")),
    "passes",
    "sampling",
)

_WITH_DOCSTRING = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_digest(*packages: ModuleType, libraries: Sequence[str] = ()) -> bytes:
    """sha256 of every module of `packages`, those in sub-folders included, and of the named `libraries`."""
    found = hashlib.sha256(" ".join(libraries).encode())
    for package in packages:
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            found.update(length_prefixed(package.__name__.encode(), name.encode(), path.read_bytes()))
    return found.digest()


@functools.cache
def embedding_code() -> str:
    """The digest, in hexadecimal, of the code behind samples; part of the model digest."""
    return meaning_digest(Path(__file__).parent, EMBEDDING)


def meaning_digest(root: Path, parts: Iterable[str]) -> str:
    """sha256 of what the modules `parts` (files, or folders with all below) of folder `root` mean.

    Comments, docstrings and layout play no part. The version of Python does, in two numbers: it decides how a
    syntax tree is written down. Raises `OSError` if a part is missing, `SyntaxError` on what is no Python.
    """
    found = hashlib.sha256("python {}.{}".format(*sys.version_info).encode())
    for part in parts:
        path = root / part
        for module in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            name = module.relative_to(root).as_posix()
            found.update(length_prefixed(name.encode(), _meaning(module.read_bytes()).encode()))
    return found.hexdigest()


def _meaning(source: bytes) -> str:
    """The syntax tree of a module, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree, annotate_fields=False)
