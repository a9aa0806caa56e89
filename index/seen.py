"""One version of a gallery file, as one process sees it."""

from dataclasses import dataclass

from index.database import Version
from index.entries import Stored
from index.growth import View
from index.pack import Packed
from index.snapshot import Snapshot


@dataclass(frozen=True)
class Seen:
    """A version: how it is searched, as what, and the rows that are left out."""

    version: Version
    view: View
    snapshot: Snapshot
    left_out: dict[int, Stored]

    def packed(self, model: str) -> Packed:
        """The same, to be kept; `model`: by whose vectors."""
        return Packed(self.version, model, self.view, self.snapshot.state, self.left_out)
