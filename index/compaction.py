"""Keeping segments few, large and full: what changed since is put into clusters, while queries go on.

Like the levels of a log-structured merge tree: a segment meets others of its size, so that an item is moved a
few times in its life, however many there are.
"""

from collections.abc import Sequence

import numpy as np

from index.arrangement import Arrangement
from index.clusters import FEW
from index.columns import Columns, names
from index.growth import SEGMENT, lots
from index.segment import LiveSegment, Segment, sealed

# Items that may stand in the open segment, where each is a cluster by itself and is copied by each change.
OPEN = 4096
# A segment of which less is there is put together with others.
FULL = 0.5


def due(arrangement: Arrangement) -> list[LiveSegment] | None:
    """The sealed segments that should be put together with the open one, if anything should."""
    hollow = [part for part in arrangement.parts if len(part) < FULL * len(part.segment)]
    if len(arrangement.open) <= OPEN and not hollow:
        return None
    chosen, items = hollow, len(arrangement.open) + sum(map(len, hollow))
    for part in sorted((part for part in arrangement.parts if part not in hollow), key=len):
        if len(part) > min(items, SEGMENT // 2):
            break
        chosen.append(part)
        items += len(part)
    return chosen


def compacted(arrangement: Arrangement, parts: Sequence[LiveSegment]) -> tuple[list[Segment], Columns]:
    """The items of `parts` and of the open segment in new segments; too few for these stay as they are."""
    columns = Columns.joined([part.columns for part in (*parts, LiveSegment(arrangement.open))])
    if len(columns) <= FEW:
        return [], columns
    number = 1 + max((part.segment.number for part in arrangement.parts), default=0)
    order = np.lexsort((names(columns.digests), columns.labels))
    _, counts = np.unique(columns.labels, return_counts=True)
    ends = np.cumsum([0, *counts])
    runs = [order[ends[lot.start] : ends[lot.stop]] for lot in lots(counts.tolist(), SEGMENT)]
    segments = [sealed(number + more, columns.take(run)) for more, run in enumerate(runs)]
    return segments, columns.take(order[:0])
