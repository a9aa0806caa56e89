"""Files that are their owner's alone, whatever the umask of the process."""

import os
from contextlib import suppress
from pathlib import Path

# An SQLite file, and those that SQLite keeps beside it in WAL mode, with the mode of the first.
_ENDS = ("", "-wal", "-shm")


def private_folder(path: Path) -> None:
    """Make the folder `path`, for its owner only; one that is there keeps its mode. Raises `OSError`."""
    if not path.is_dir():
        path.mkdir(0o700, parents=True, exist_ok=True)


def private_database(path: Path) -> None:
    """Make sure that the SQLite file `path`, and what SQLite keeps beside it, is for its owner only.

    A file that is not there is made, empty. One of another owner keeps its mode. Raises `OSError`.
    """
    private_folder(path.parent)
    # A file that is there is never opened here: closing it would drop the locks that SQLite holds on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for end in _ENDS:
        with suppress(FileNotFoundError):
            file = path.with_name(path.name + end)
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid() and file.is_file():
                file.chmod(found.st_mode & 0o700)
