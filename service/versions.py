"""Asking the newest version of the gallery, and the next one where items go while it answers."""

from collections.abc import Callable
from typing import TypeVar

from index import ItemGone
from service.errors import GalleryFailure

# Versions that are asked.
ATTEMPTS = 5

Result = TypeVar("Result")


def newest(ask: Callable[[], Result], wanted: str) -> Result:
    """What `ask` finds in the newest version, or in the next if an item that it names is gone by then.

    Raises `GalleryFailure`, which says that the gallery changes too fast for what is `wanted`.
    """
    for _ in range(ATTEMPTS):
        try:
            return ask()
        except ItemGone:
            continue
    raise GalleryFailure(f"the gallery changes too fast {wanted}: try again")
