"""An item that goes while it is named has the next version asked, and not for ever."""

import pytest

from index import ItemGone
from service.errors import GalleryFailure
from service.versions import ATTEMPTS, newest


class Changing:
    """A gallery of which so many versions lose an item while they are asked."""

    def __init__(self, losing: int) -> None:
        self.losing, self.asked = losing, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.losing:
            raise ItemGone
        return f"version {self.asked}"


def test_the_next_version_answers() -> None:
    assert newest(Changing(0), "for an answer") == "version 1"
    assert newest(Changing(ATTEMPTS - 1), "for an answer") == f"version {ATTEMPTS}"


def test_a_gallery_that_changes_too_fast_is_given_up_with_a_reason() -> None:
    changing = Changing(ATTEMPTS)
    with pytest.raises(GalleryFailure, match="changes too fast to be listed: try again"):
        newest(changing, "to be listed")
    assert changing.asked == ATTEMPTS
