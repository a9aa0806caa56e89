"""What a gallery file says of items and their vectors, and what has to be left out of every answer."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database import Session
from index.items import Texts
from index.rows import legible, stored_texts, stored_vector

log = logging.getLogger("retrievalguard")

# Ids that one line of the log names; it counts the others.
NAMED = 10
# Rows that are asked for at a time.
BATCH = 4096


class Stored(NamedTuple):
    """An item in a gallery file, as one model sees it.

    id      as far as it is legible
    texts   None if the item is not what was stored
    vector  (d,) float32; None if the model has not embedded it, or `broken`: it is not what was stored
    """

    row: int
    id: str
    texts: Texts | None
    vector: NDArray[np.float32] | None
    broken: bool


def read_stored(
    db: Session, model: str, dimension: int | None, rows: Sequence[int] | None = None
) -> Iterator[Stored]:
    """The items in `rows` that are there, in this order (None: all, in the order of addition).

    A vector that is not of `dimension` numbers (None: any), or not finite, is broken. Images are not read.
    """
    name = model.encode()
    found: Iterable[tuple[Any, ...]]
    if rows is None:
        found = db.each(f"{_SELECT} {_JOINED} ORDER BY items.row", (model,))
    else:
        found = _asked(db, model, rows)
    for row, id_, label, metadata, image, checksum, content, vector_checksum in found:
        texts = stored_texts(id_, label, metadata, image, checksum)
        vector = None
        if texts is not None and content is not None:
            vector = stored_vector(id_, image, name, content, vector_checksum)
            if vector is not None and dimension not in (None, len(vector)):
                vector = None
        broken = texts is not None and content is not None and vector is None
        yield Stored(int(row), legible(id_), texts, vector, broken)


def _asked(db: Session, model: str, rows: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(rows), BATCH):
        some = [int(row) for row in rows[start : start + BATCH]]
        marks = ", ".join("?" for _ in some)
        query = f"{_SELECT} {_JOINED} WHERE items.row IN ({marks})"
        found = {fields[0]: fields for fields in db.execute(query, (model, *some))}
        yield from (found[row] for row in some if row in found)


_SELECT = (
    "SELECT items.row, items.id, label, metadata, checksums.image, checksums.item,"
    " vectors.vector, vectors.checksum"
)
_JOINED = (
    "FROM items LEFT JOIN checksums ON checksums.row = items.row"
    " LEFT JOIN vectors ON vectors.row = items.row AND vectors.model = ?"
)


def damaged(left_out: Iterable[Stored]) -> tuple[str, ...]:
    """Ids of items that are not what was stored, then of those whose vectors are not."""
    known = list(left_out)
    return (
        *(each.id for each in known if each.texts is None),
        *(each.id for each in known if each.broken),
    )


def unembedded(left_out: Iterable[Stored]) -> tuple[str, ...]:
    """Ids of sound items without a sound vector."""
    return tuple(each.id for each in left_out if each.texts is not None)


def tell(place: str, left_out: Iterable[Stored]) -> None:
    """Name in the log what is left out because it is not what was stored."""
    known = list(left_out)
    for what, ids, way_out in (
        (
            "items",
            [each.id for each in known if each.texts is None],
            "delete them and add them again, or restore an export",
        ),
        (
            "vectors of items",
            [each.id for each in known if each.broken],
            "the next start embeds them anew",
        ),
    ):
        if ids:
            named = ", ".join(map(repr, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
            log.error(
                "%s: %d %s were changed or damaged in the file and are left out of every answer: %s. To mend"
                " that: %s", place, len(ids), what, named, way_out,
            )  # fmt: skip
