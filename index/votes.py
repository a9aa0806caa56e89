"""Votes: of many points, the nearest item of each, where rounding leaves no doubt."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.search import TIE, ExactSearch

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Items looked at for the vote of a point, and points that vote at a time.
CANDIDATES = 16
VOTES = 1024


@dataclass(frozen=True)
class Votes:
    """The nearest item of each of n points (n,), and its label's number (n,); -1 where it is in doubt.

    The label may be certain where the item is not.
    """

    rows: Rows
    labels: Rows


def votes_in(search: ExactSearch, points: Array, slack: float) -> Votes:
    """The item of `search` nearest to each of `points` (n, d), each of which may be off by `slack`.

    A vote that moving the point by `slack`, or rounding, might change is in doubt.
    """
    votes = [_votes(search, points[start : start + VOTES], slack) for start in range(0, len(points), VOTES)]
    return Votes(np.concatenate([v.rows for v in votes]), np.concatenate([v.labels for v in votes]))


def _votes(search: ExactSearch, points: Array, slack: float) -> Votes:
    proposed = min(CANDIDATES, len(search))
    squares, rows = search.proposals(points, proposed)
    vectors = search.exact(rows)
    distances = np.linalg.norm(vectors - points[:, None, :], axis=2)
    nearest = np.lexsort((rows, distances), axis=1)[:, :1]
    best = np.take_along_axis(rows, nearest, 1)[:, 0]
    first = np.take_along_axis(distances, nearest, 1)
    apart = np.linalg.norm(vectors - search.exact(best)[:, None, :], axis=2)
    # The distance of the point from the plane half-way between both items.
    close = distances**2 - first**2 <= 2 * apart * slack + TIE
    if proposed < len(search):
        unseen = search.unseen(points, squares[:, -1])
        hidden = unseen**2 - first[:, 0] ** 2 <= 2 * (unseen + first[:, 0]) * slack + TIE
    else:
        hidden = np.zeros(len(points), np.bool_)
    labels = search.labels_of(rows.reshape(-1)).reshape(rows.shape)
    of_best = np.take_along_axis(labels, nearest, 1)
    return Votes(
        np.where(((rows != best[:, None]) & close).any(axis=1) | hidden, -1, best),
        np.where(((labels != of_best) & close).any(axis=1) | hidden, -1, of_best[:, 0]),
    )
