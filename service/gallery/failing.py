"""What a gallery that cannot be read or changed means to whoever asked: no path, and what to do next."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from index import ItemChanged, ItemDamaged, ItemMissing, OutcomeUnknown, StoreBusy, StoreFailure
from service.errors import GalleryFailure, ItemNotFound, PreconditionFailed

log = logging.getLogger("retrievalguard")

CHANGED = (
    "the item is not the one that If-Match or If-None-Match is about: get it again, and look at its ETag"
)


def failure(error: StoreFailure, what: str) -> GalleryFailure:
    """What a client is told; the log has all of it, beginning with `what` happened."""
    log.error("%s: %s", what, error)
    if isinstance(error, StoreBusy):
        return GalleryFailure(
            "the gallery is being restored, or changed by somebody else for a long time: nothing was stored;"
            " send the same again later"
        )
    if isinstance(error, OutcomeUnknown):
        return GalleryFailure(
            "it is not known whether the change was stored: look at the gallery, or send the same again"
        )
    return GalleryFailure()


@contextmanager
def item_failures() -> Iterator[None]:
    """What the gallery raises of single items, as what a client is told."""
    try:
        yield
    except ItemMissing as error:
        raise ItemNotFound(f"{error}: see GET /gallery/items and `retrievalguard gallery list`") from error
    except ItemChanged as error:
        raise PreconditionFailed(CHANGED) from error
    except ItemDamaged as error:
        raise GalleryFailure(str(error)) from error
    except StoreFailure as error:
        raise failure(error, "the gallery was not read or changed") from error
