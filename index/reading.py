"""What one model sees of the items in a gallery file, as they are read from it: all, or some rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from index.database import Session
from index.entries import Stored, read_stored
from index.growth import Entry
from index.held import HeldTexts
from index.items import read
from index.snapshot import entry_of


@dataclass(frozen=True)
class Reading:
    """One reading of a file, by `model`, whose vectors have `dimension` numbers.

    left_out   is told of what cannot be searched, by its row
    held       is told the texts of all that are sound; None: nobody wants them
    """

    model: str
    dimension: int
    left_out: dict[int, Stored]
    held: HeldTexts | None

    def entries(self, db: Session, rows: Sequence[int]) -> list[Entry]:
        """The items in `rows` that can be searched."""
        found = list[Entry]()
        for stored in read_stored(db, self.model, self.dimension, rows):
            if self.held is not None and stored.texts is not None:
                self.held.put(stored.row, stored.texts)
            if stored.texts is None or stored.vector is None:
                self.left_out[stored.row] = stored
            else:
                found.append(entry_of(stored.row, read(stored.texts), stored.vector))
        return found


def rows_by_label(db: Session) -> Iterator[list[int]]:
    """The rows of all items, label after label."""
    # Databases compare these byte by byte: in the order of the labels.
    found = db.each("SELECT row, label FROM items ORDER BY label, row")
    for _, rows in groupby(found, lambda fields: fields[1]):
        yield [row for row, _ in rows]
