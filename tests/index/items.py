"""Items for the tests, and other processes that write to a gallery file."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import GalleryStore, Item, NewItem, Place, SharedGallery

ROOT = Path(__file__).parents[2]
MODEL = "sha256:model σ=0.25 n=1024"


def new(
    id_: str,
    label: str = "a",
    vector: Any = (0.6, 0.8),
    metadata: dict[str, Any] | None = None,
    image: bytes = b"an image",
    media_type: str = "image/png",
) -> NewItem:
    """An item to add."""
    return NewItem(Item(id_, label, metadata or {}), image, media_type, np.array(vector, np.float32))


# What every other process starts with. `ready()` tells the test that it got there; `until_told()` counts
# until the test calls `enough`.
PRELUDE = """
import sys, time
from pathlib import Path
from index import Gallery, GalleryStore, SharedGallery
from tests.index.items import MODEL, loaded, new

def ready():
    print("ready", flush=True)

path = Path(sys.argv[1])
place = SharedGallery(sys.argv[2], path) if len(sys.argv) > 2 else path

def until_told():
    number = 0
    while not path.with_name("enough").exists():
        number += 1
        yield number
"""


def beside(place: Place) -> Path:
    """The SQLite file, or where it would be."""
    return place.path if isinstance(place, SharedGallery) else place


def enough(place: Place) -> None:
    """End the `until_told()` of the process that writes to the gallery at `place`."""
    beside(place).with_name("enough").touch()


@contextmanager
def process(code: str, place: Place) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code` on the gallery at `place`; entered once it has called `ready()`."""
    command = [sys.executable, "-W", "error", "-c", PRELUDE + code, str(beside(place))]
    command += [place.url] if isinstance(place, SharedGallery) else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def loaded(store: GalleryStore, model: str) -> tuple[int, list[Item], list[NDArray[np.float32]]]:
    """Version, items and vectors, where nothing is damaged and everything is embedded."""
    found = store.load(model)
    assert found.damaged == ()
    return found.version, found.items, found.vectors
