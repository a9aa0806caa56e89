"""What a gallery that cannot be read or changed means to whoever asked: no path, and what to do next."""

import logging

from index import OutcomeUnknown, StoreBusy, StoreFailure
from service.errors import GalleryFailure

log = logging.getLogger("retrievalguard")


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
