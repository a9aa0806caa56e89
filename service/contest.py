"""Who is nearest and who are the rivals: where samples meet the gallery."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certify import (
    GUARANTEES,
    Certificate,
    EmbeddingSpace,
    Guarantee,
    Listing,
    Terms,
    certify,
    certify_votes,
    selection_size,
)
from index import Neighbors, Snapshot
from service.options import Rule

# Same-label items that may stand against a rival. The nearest are not the best: an item on the far side of
# its label, away from a rival, stays ahead of that rival longest.
WINNERS = 256
# Rivals listed for the guarantee that was not asked for; the others are bounded together.
RIVALS_OTHER = 64


@dataclass(frozen=True)
class Outcome:
    """Who answers, and what is certified of it.

    `votes` (k,) are those of `neighbors`, under rule `vote`; `searching` seconds were spent in the index.
    """

    neighbors: Neighbors
    votes: tuple[int, ...] | None
    certificate: Certificate
    searching: float


def decide(
    snapshot: Snapshot,
    samples: NDArray[np.float32],
    space: EmbeddingSpace,
    rule: Rule,
    terms: Terms,
    *,
    top_k: int,
    max_rivals: int,
) -> Outcome:
    """The answer of `rule` to a query with these `samples` (n, d), and its certificate.

    `space` is where embeddings lie; `max_rivals` are listed for the guarantee that was asked for.
    """
    started = time.perf_counter()
    points = snapshot.lift(samples)
    if rule == "vote":
        return _by_vote(snapshot, points, space, terms, top_k)
    neighbors = snapshot.nearest(points.mean(axis=0), top_k)
    listings = contest(snapshot, points, int(neighbors.rows[0]), terms.guarantee, max_rivals)
    searching = time.perf_counter() - started
    return Outcome(neighbors, None, certify(points, listings, space, terms), searching)


def contest(
    snapshot: Snapshot, points: NDArray[np.float64], answer: int, guarantee: Guarantee, max_rivals: int
) -> dict[Guarantee, Listing]:
    """The contest of each guarantee, if row `answer` is served for the samples `points` (n, d).

    Contests are chosen with the selection samples alone. One is left out when the item (its label) that they
    choose is not the one that is served.
    """
    centre = points[: selection_size(len(points))].mean(axis=0)
    listed = dict.fromkeys(GUARANTEES, RIVALS_OTHER) | {guarantee: max_rivals}
    around = snapshot.nearest(centre, 1 + listed["item"])
    chosen, others = around.rows[:1], around.rows[1:]
    label = int(snapshot.labels[chosen[0]])
    listings: dict[Guarantee, Listing] = {}
    if snapshot.labels[answer] == label:
        winners = snapshot.nearest_of_label(centre, WINNERS, label).rows
        rivals = snapshot.nearest_rivals(centre, listed["label"], label)
        listings["label"] = Listing(
            snapshot.exact(winners), snapshot.exact(rivals.rows), centre, rivals.outside
        )
    if answer == chosen[0]:
        listings["item"] = Listing(snapshot.exact(chosen), snapshot.exact(others), centre, around.outside)
    return listings


def _by_vote(
    snapshot: Snapshot, points: NDArray[np.float64], space: EmbeddingSpace, terms: Terms, top_k: int
) -> Outcome:
    """Guarantee `item` answers with the item of most votes, `label` with that of the label of most votes."""
    started = time.perf_counter()
    votes = snapshot.votes(points, space.slack)
    searching = time.perf_counter() - started
    of_items = np.bincount(votes.rows[votes.rows >= 0], minlength=len(snapshot))
    eligible = np.ones(len(snapshot), np.bool_)
    if terms.guarantee == "label":
        of_labels = np.bincount(votes.labels[votes.labels >= 0], minlength=len(snapshot.label_names))
        eligible = snapshot.labels == of_labels.argmax()
    # Items of the winning label first, then by votes, then by row.
    order = np.lexsort((np.arange(len(snapshot)), -of_items, ~eligible))[:top_k]
    answer = int(order[0])
    cast: dict[Guarantee, NDArray[np.int64]] = {"item": votes.rows}
    if terms.guarantee == "label":
        cast["label"] = votes.labels
    answers: dict[Guarantee, int] = {"item": answer, "label": int(snapshot.labels[answer])}
    distances = np.linalg.norm(snapshot.exact(order) - points.mean(axis=0), axis=1)
    certificate = certify_votes(cast, answers, terms)
    counts = tuple(int(count) for count in of_items[order])
    return Outcome(Neighbors(order, distances, np.inf), counts, certificate, searching)
