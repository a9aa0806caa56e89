"""The texts of a shared gallery in memory: answers need them while its server is away."""

from collections.abc import Iterable

from index.database import Session
from index.failures import ItemGone
from index.items import Item, Texts, read
from index.rows import TEXTS, stored_texts


class HeldTexts:
    """Id, label and metadata of items by their rows, which stand for these for ever."""

    def __init__(self) -> None:
        self._texts = dict[int, Texts]()

    def put(self, row: int, texts: Texts) -> None:
        """Hold the texts of one row."""
        self._texts[row] = texts

    def drop(self, rows: Iterable[int]) -> None:
        """Hold these rows no more."""
        for row in rows:
            self._texts.pop(row, None)

    def read(self, db: Session) -> None:
        """Hold all that is sound."""
        for row, *fields in db.each(TEXTS):
            texts = stored_texts(*fields)
            if texts is not None:
                self.put(row, texts)

    def items(self, rows: Iterable[int]) -> list[Item]:
        """The items in `rows`. Raises `ItemGone`."""
        try:
            return [read(self._texts[row]) for row in rows]
        except KeyError:
            raise ItemGone from None
