"""Who is nearest and who are the rivals: where samples meet the gallery."""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from certify import (
    Certificate,
    Certifier,
    Claim,
    EmbeddingSpace,
    Rivals,
    Rule,
    Terms,
    Vectors,
    certify,
    certify_votes,
    selection_size,
    void,
)
from index import Neighbors, Snapshot

Array = NDArray[np.float64]

# Same-label items that may stand against a rival. The nearest are not the best: an item on the far side of
# its label, away from a rival, stays ahead of that rival longest.
WINNERS = 256


@dataclass(frozen=True)
class Outcome:
    """Who answers, and what is certified of it.

    `votes` (k,) are those of `neighbors`, under rule `vote`; `searching` seconds were spent in the index.
    """

    neighbors: Neighbors
    votes: tuple[int, ...] | None
    certificate: Certificate
    searching: float


class Contest:
    """One query's contest: the samples grow from look to look, rivals and bets are chosen once.

    `vectors` are those of `snapshot` as certificates need them, `space` is where embeddings lie.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        vectors: Vectors,
        space: EmbeddingSpace,
        rule: Rule,
        terms: Terms,
        *,
        top_k: int,
    ) -> None:
        self.snapshot, self.vectors, self.space = snapshot, vectors, space
        self.rule, self.terms, self._top_k = rule, terms, top_k
        self._chosen: tuple[int, dict[Claim, Rivals]] | None = None
        self._certifier: Certifier | None = None

    def outcome(self, samples: NDArray[np.float32]) -> Outcome:
        """The answer to a query with these `samples` (n, d), and its certificate."""
        started = time.perf_counter()
        points = self.snapshot.lift(samples)
        if self.rule == "vote":
            return _by_vote(self.snapshot, points, self.space, self.terms, self._top_k)
        neighbors = self.snapshot.nearest(points.mean(axis=0), self._top_k)
        claims, field = self._claims(points, int(neighbors.rows[0]))
        searching = time.perf_counter() - started
        if self.terms.anytime:
            self._certifier = self._certifier or Certifier(field, self.space, self.terms)
            certificate = self._certifier.certificate(points, claims)
        else:
            certificate = certify(points, {claim: field[claim] for claim in claims}, self.space, self.terms)
        return Outcome(neighbors, None, certificate, searching)

    def cut_short(self, samples: NDArray[np.float32]) -> Outcome:
        """The answer without a certificate: there was no time for the first round."""
        reason = (
            f"the deadline passed after {len(samples)} samples, before the first certificate: raise"
            " deadline_ms"
        )
        points = self.snapshot.lift(samples)
        nothing = void(self.terms, len(samples), reason)
        if self.rule == "vote":
            voted = _by_vote(self.snapshot, points, self.space, self.terms, self._top_k)
            return replace(voted, certificate=nothing)
        return Outcome(self.snapshot.nearest(points.mean(axis=0), self._top_k), None, nothing, 0.0)

    def rival(self, samples: NDArray[np.float32]) -> Neighbors | None:
        """Who would be the first to break the guarantee by coming nearest: the one that must stay behind.

        Of all items that must, it is the nearest to the mean of `samples` (n, d), or the k-th nearest for
        guarantee `within`. None: the gallery has too few.
        """
        snapshot, mean = self.snapshot, self.snapshot.lift(samples).mean(axis=0)
        answer, arranged = int(snapshot.nearest(mean, 1).rows[0]), snapshot.clusters.order
        if self.terms.claim == "label":
            behind = snapshot.labels[arranged] != snapshot.labels[answer]
        else:
            behind = arranged != answer
        rivals = Rivals(snapshot.exact(np.array([answer])), self.vectors, behind, mean)
        places, distances = rivals.distances(mean)
        kth = slice(self.terms.within_k - 1, self.terms.within_k)
        return Neighbors(arranged[places[kth]], distances[kth], np.inf) if len(places[kth]) else None

    def _claims(self, points: Array, answer: int) -> tuple[list[Claim], dict[Claim, Rivals]]:
        """What may be claimed if row `answer` is served, and the rivals of both claims.

        They are chosen with the selection samples alone, hence once. Nothing is claimed of an item (a label)
        that they choose and that is not the one that is served.
        """
        if self._chosen is None:
            self._chosen = self.choose(points[: selection_size(len(points))])
        chosen, field = self._chosen
        claims: list[Claim] = []
        if self.snapshot.labels[answer] == self.snapshot.labels[chosen]:
            claims.append("label")
        if answer == chosen:
            claims.append("item")
        return claims, field

    def choose(self, selection: Array) -> tuple[int, dict[Claim, Rivals]]:
        """The row that the selection samples (k, d) choose, and the rivals of each claim."""
        snapshot, centre = self.snapshot, selection.mean(axis=0)
        chosen = snapshot.nearest(centre, 1).rows
        label = int(snapshot.labels[chosen[0]])
        winners = snapshot.nearest_of_label(centre, WINNERS, label).rows
        arranged = snapshot.clusters.order
        return int(chosen[0]), {
            "label": Rivals(
                snapshot.exact(winners), self.vectors, snapshot.labels[arranged] != label, centre
            ),
            "item": Rivals(snapshot.exact(chosen), self.vectors, arranged != chosen[0], centre),
        }


def vectors_of(snapshot: Snapshot) -> Vectors:
    """The vectors of `snapshot` as certificates need them."""
    clusters = snapshot.clusters
    return Vectors(clusters.vectors, clusters.starts, clusters.centres, clusters.radii)


def _by_vote(snapshot: Snapshot, points: Array, space: EmbeddingSpace, terms: Terms, top_k: int) -> Outcome:
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
    cast: dict[Claim, NDArray[np.int64]] = {"item": votes.rows}
    if terms.guarantee == "label":
        cast["label"] = votes.labels
    answers: dict[Claim, int] = {"item": answer, "label": int(snapshot.labels[answer])}
    distances = np.linalg.norm(snapshot.exact(order) - points.mean(axis=0), axis=1)
    certificate = certify_votes(cast, answers, terms)
    counts = tuple(int(count) for count in of_items[order])
    return Outcome(Neighbors(order, distances, np.inf), counts, certificate, searching)
