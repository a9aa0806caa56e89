"""A disk that is full, or becomes read-only, in the middle of a change: all of the change, or nothing."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from index import GalleryStore, StoreFailure
from index.history import advance
from tests.index.items import MODEL, PRELUDE, ROOT, new

# On a disk of 1 MiB, most of which another program takes first and gives back later.
FULL = """
import os
filler = path.with_name("filler")
store = GalleryStore(place)
store.add([new("one")], MODEL)
filler.write_bytes(bytes(500_000))
for number in range(40):
    try:
        store.add([new(f"{number}", image=os.urandom(40_000)), new(f"{number} too")], MODEL)
    except Exception as error:
        print(error)
        break
print(store.version() == number + 1, len(store.ids()) == 2 * number + 1, number > 0)
store.delete(["one"])
filler.unlink()
store.add([new("after", image=bytes(40_000))], MODEL)
store.close()
again = GalleryStore(place)
print(again.version() == number + 3, again.ids()[-1], len(again.ids()) == 2 * number + 1)
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def test_a_full_disk_stores_nothing_of_a_change_and_the_next_one_works(tmp_path: Path) -> None:
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    mounted = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    python = [sys.executable, "-c", PRELUDE + FULL, str(tmp_path / "gallery.sqlite3")]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", mounted, "sh", *python],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    error, before, after = done.stdout.splitlines()
    assert "the disk is full: free some space; the change was not stored" in error
    assert before == "True True True"
    assert after == "True after True"


def test_a_disk_that_becomes_read_only_in_a_change_stores_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open for writing becomes open for reading alone, as far as the system calls tell."""
    path = tmp_path / "gallery.sqlite3"
    log = path.with_name(f"{path.name}-wal")
    store = GalleryStore(path)
    store.add([new("one")], MODEL)
    kept = {number: os.dup(number) for number in _open_files(log)}
    assert kept

    def read_only(db: Any, rows: Iterable[int]) -> int:
        file = os.open(log, os.O_RDONLY)
        for number in kept:
            os.dup2(file, number)
        os.close(file)
        return advance(db, rows)

    monkeypatch.setattr("index.store.advance", read_only)
    with pytest.raises(StoreFailure, match="cannot be read or written, the disk fails"):
        store.add([new("two"), new("three")], MODEL)
    assert store.ids() == ["one"]
    monkeypatch.undo()
    for number, whole in kept.items():
        os.dup2(whole, number)
        os.close(whole)
    assert store.add([new("four")], MODEL) == 2
    store.close()
    again = GalleryStore(path)
    assert (again.version(), again.ids()) == (2, ["one", "four"])
    again.close()


def _open_files(path: Path) -> list[int]:
    """The numbers under which this process has a file open."""
    found = list[int]()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == path:
                found.append(int(entry.name))
        except FileNotFoundError:  # the one that lists them
            continue
    return found
