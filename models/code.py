"""The digest of source code: what an older version of this program computed is not taken for today's."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from models.noise import length_prefixed


def code_digest(*packages: ModuleType, libraries: Sequence[str] = ()) -> bytes:
    """sha256 of every module of `packages`, those in sub-folders included, and of the named `libraries`."""
    found = hashlib.sha256(" ".join(libraries).encode())
    for package in packages:
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            found.update(length_prefixed(package.__name__.encode(), name.encode(), path.read_bytes()))
    return found.digest()
