"""Who is nearest and who are the rivals: where samples meet the gallery."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from certify import (
    Certificate,
    Certifier,
    Claim,
    EmbeddingSpace,
    Rivals,
    Rule,
    Stacked,
    Terms,
    Vectors,
    certify,
    certify_votes,
    selection_size,
    void,
)
from index import Neighbors, Segment, ShardMissing, Snapshot, elsewhere, gathered, multiplied
from service import traces
from service.retrieval.reach import reach

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Same-label items that may stand against a rival. The nearest are not the best: an item on the far side of
# its label, away from a rival, stays ahead of that rival longest.
WINNERS = 256
# Among so many of the nearest items that must stay behind those are looked for that explain an answer.
NEAREST_RIVALS = 1_000
# Items around the selection that are kept in mind: the answer of every look is one of the nearest of them.
AROUND = 128


@dataclass(frozen=True)
class Outcome:
    """Who answers, and what is certified of it.

    `votes` (k,) are those of `neighbors`, under rule `vote`; `searching` seconds were spent in the index.
    `complete`: whether all of the gallery was looked at; nothing is certified otherwise.
    """

    neighbors: Neighbors
    votes: tuple[int, ...] | None
    certificate: Certificate
    searching: float
    complete: bool = True


class Contest:
    """One query's contest: the samples grow from look to look, rivals and bets are chosen once.

    `vectors` are those of `snapshot` as certificates need them, `space` is where embeddings lie. `abstains`:
    whether to answer without a certificate when a shard of the gallery is missing.
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
        abstains: bool = False,
    ) -> None:
        self._abstains = abstains
        self.snapshot, self.vectors, self.space = snapshot, vectors, space
        self.rule, self.terms, self._top_k = rule, terms, top_k
        self._chosen: tuple[int, dict[Claim, Rivals]] | None = None
        self._around: tuple[Array, Neighbors] | None = None
        self._certifier: Certifier | None = None

    def outcome(self, samples: NDArray[np.float32]) -> Outcome:
        """The answer to a query with these `samples` (n, d), and its certificate.

        Raises `ShardMissing` where not all of the gallery can be looked at, unless it abstains then.
        """
        try:
            return self._outcome(samples)
        except ShardMissing:
            if not self._abstains:
                raise
            return self._incomplete(samples)

    def _incomplete(self, samples: NDArray[np.float32]) -> Outcome:
        """The nearest of the items that can be reached, and nothing said of the others."""
        mean = self.snapshot.lift(samples).mean(axis=0)
        found, left = self.snapshot.nearest_reached(mean, self._top_k)
        reason = (
            f"{left} of {len(self.snapshot)} items of the gallery cannot be reached now, so that nothing is"
            " certified: ask again"
        )
        return Outcome(found, None, void(self.terms, len(samples), reason), 0.0, complete=False)

    def _outcome(self, samples: NDArray[np.float32]) -> Outcome:
        started = time.perf_counter()
        points = self.snapshot.lift(samples)
        if self.rule == "vote":
            return _by_vote(self.snapshot, points, self.space, self.terms, self._top_k)
        with traces.span("search"):
            neighbors = self._nearest(points)
            claims, field = self._claims(points, int(neighbors.rows[0]))
        searching = time.perf_counter() - started
        with traces.span("certify"):
            if self.terms.anytime:
                self._certifier = self._certifier or Certifier(field, self.space, self.terms)
                certificate = self._certifier.certificate(points, claims)
            else:
                rivals = {claim: field[claim] for claim in claims}
                certificate = certify(points, rivals, self.space, self.terms)
        return Outcome(neighbors, None, certificate, searching)

    def cut_short(self, samples: NDArray[np.float32]) -> Outcome:
        """The answer without a certificate: there was no time for the first round. Raises as `outcome`."""
        try:
            return self._cut_short(samples)
        except ShardMissing:
            if not self._abstains:
                raise
            return self._incomplete(samples)

    def _cut_short(self, samples: NDArray[np.float32]) -> Outcome:
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

    def rivals(self, samples: NDArray[np.float32], most: int) -> Neighbors:
        """Who is likely to be the first to break the guarantee: `most` of those that must not come nearest.

        Of the `NEAREST_RIVALS` nearest to the mean of `samples` (n, d) those with the shortest `reach`,
        shortest first, each with its distance; for guarantee `within` the k-th and those after it, for
        guarantee `label` the first of each label. Fewer, if there are no more.
        """
        points = self.snapshot.lift(samples)
        ours, behind = self._opposed(points.mean(axis=0), NEAREST_RIVALS)
        if not len(behind.rows):
            return behind
        exact = self.snapshot.exact
        order = np.argsort(reach(points, exact(ours), exact(behind.rows)), kind="stable")
        first = order[self.terms.within_k - 1 :]
        if self.terms.claim == "label":
            labels = self.snapshot.labels[behind.rows[order]]
            first = order[np.sort(np.unique(labels, return_index=True)[1])]
        return Neighbors(behind.rows[first[:most]], behind.distances[first[:most]], np.inf)

    def sides(self, samples: NDArray[np.float32]) -> tuple[Array, Array]:
        """The vectors of who may answer (k, d), and who must stay behind (m, d): those near `samples` (n, d).

        Nobody must in a gallery without rivals: then m is 0.
        """
        ours, behind = self._opposed(self.snapshot.lift(samples).mean(axis=0), WINNERS)
        return self.snapshot.exact(ours), self.snapshot.exact(behind.rows)

    def _opposed(self, mean: Array, count: int) -> tuple[Rows, Neighbors]:
        """The rows of who may answer, and the `count` nearest to `mean` (d,) of those that must not."""
        snapshot = self.snapshot
        answer = snapshot.nearest(mean, 1).rows
        if self.terms.claim == "label":
            label = snapshot.label(int(answer[0]))
            ours = snapshot.nearest_of_label(mean, WINNERS, label).rows
            return ours, snapshot.nearest_of_others(mean, count, label)
        return answer, snapshot.nearest_but(mean, count, int(answer[0]))

    def _nearest(self, points: Array) -> Neighbors:
        """Who is nearest to the mean of `points`: mostly one of those around that of the selection.

        So the gallery is searched once for all looks.
        """
        if self._around is None:
            centre = points[: selection_size(len(points))].mean(axis=0)
            self._around = centre, self.snapshot.nearest(centre, max(self._top_k, AROUND))
        centre, around = self._around
        return self.snapshot.near(around, centre, points.mean(axis=0), self._top_k)

    def _claims(self, points: Array, answer: int) -> tuple[list[Claim], dict[Claim, Rivals]]:
        """What may be claimed if row `answer` is served, and the rivals of both claims.

        They are chosen with the selection samples alone, hence once. Nothing is claimed of an item (a label)
        that they choose and that is not the one that is served.
        """
        if self._chosen is None:
            self._chosen = self.choose(points[: selection_size(len(points))])
        chosen, field = self._chosen
        claims: list[Claim] = []
        if self.snapshot.label(answer) == self.snapshot.label(chosen):
            claims.append("label")
        if answer == chosen:
            claims.append("item")
        return claims, field

    def choose(self, selection: Array) -> tuple[int, dict[Claim, Rivals]]:
        """The row that the selection samples (k, d) choose, and the rivals of each claim."""
        snapshot, centre = self.snapshot, selection.mean(axis=0)
        if self._around is not None and np.array_equal(self._around[0], centre):
            chosen = self._around[1].rows[:1]
        else:
            chosen = snapshot.nearest(centre, 1).rows
        label = snapshot.label(int(chosen[0]))
        winners = snapshot.nearest_of_label(centre, WINNERS, label).rows
        return int(chosen[0]), {
            "label": Rivals(snapshot.exact(winners), self.vectors, snapshot.of_others(label), centre),
            "item": Rivals(snapshot.exact(chosen), self.vectors, snapshot.all_but(int(chosen[0])), centre),
        }


class Arranged:
    """The vectors of snapshots as certificates need them: of each segment once, however many share it.

    Snapshots of the same segments share all: a view and what it is of, say, of which other items are there.
    """

    def __init__(self) -> None:
        self._segments = WeakKeyDictionary[Segment, Vectors]()
        self._together = WeakValueDictionary[tuple[Segment, ...], Vectors]()
        self._snapshots = WeakKeyDictionary[Snapshot, Vectors]()

    def handed_over(self, whole: Segment, left: Segment) -> None:
        """Of a segment whose vectors go elsewhere, keep what certificates need of each, in what is `left`."""
        self._segments[left] = _left(_vectors(whole, whole.columns.vectors), left.columns.vectors)

    def of(self, snapshot: Snapshot) -> Vectors:
        """The vectors of `snapshot`."""
        found = self._snapshots.get(snapshot)
        if found is None:  # two at once make two that are equal
            segments = tuple(part.segment for part in snapshot.parts)
            found = self._together.get(segments)
            if found is None:
                found = self._together[segments] = self._joined(segments)
            self._snapshots[snapshot] = found
        return found

    def _joined(self, segments: tuple[Segment, ...]) -> Vectors:
        if len(segments) == 1 and not len(segments[0].centres):
            return Vectors.flat(segments[0].columns.vectors)
        joined = Vectors.joined([self._of(segment) for segment in segments])
        arrays = [segment.columns.vectors for segment in segments]
        if all(elsewhere(each) is None for each in arrays):
            return joined
        return replace(joined, rows=Stacked(arrays, gathered, multiplied))

    def _of(self, segment: Segment) -> Vectors:
        found = self._segments.get(segment)
        if found is None:
            vectors = segment.columns.vectors
            found = _vectors(segment, np.asarray(vectors))  # what is elsewhere is brought here, once
            if elsewhere(vectors) is not None:
                found = _left(found, vectors)
            self._segments[segment] = found
        return found


def _vectors(segment: Segment, rows: NDArray[np.float32]) -> Vectors:
    if not len(segment.centres):
        return Vectors.single(rows)
    return Vectors(rows, segment.starts, segment.centres, segment.radii, segment.groups)


def _left(here: Vectors, there: NDArray[np.float32]) -> Vectors:
    """`here`, whose rows are left `there`: what was computed of them stays."""
    left = replace(here, rows=there)
    for name in ("halves", "clusters", "grouped"):  # each kept in the instance once it was asked for
        vars(left)[name] = getattr(here, name)
    return left


def vectors_of(snapshot: Snapshot) -> Vectors:
    """The vectors of `snapshot` as certificates need them."""
    return Arranged().of(snapshot)


def _by_vote(snapshot: Snapshot, points: Array, space: EmbeddingSpace, terms: Terms, top_k: int) -> Outcome:
    """Guarantee `item` answers with the item of most votes, `label` with that of the label of most votes."""
    started = time.perf_counter()
    with traces.span("search"):
        votes = snapshot.votes(points, space.slack)
    searching = time.perf_counter() - started
    mean = points.mean(axis=0)
    of_items = np.bincount(votes.rows[votes.rows >= 0], minlength=len(snapshot))
    eligible = np.ones(len(snapshot), np.bool_)
    if terms.guarantee == "label":
        eligible = snapshot.labels == _elected(snapshot, votes.labels, mean)
    # Items of the winning label first, then by votes, then as equally near ones.
    order = np.lexsort((snapshot.keys(np.arange(len(snapshot))), -of_items, ~eligible))[:top_k]
    answer = int(order[0])
    cast: dict[Claim, NDArray[np.int64]] = {}
    answers: dict[Claim, int] = {}
    cast["item"], answers["item"] = _numbered(votes.rows, answer, snapshot.keys)
    label = snapshot.label(answer)
    if terms.guarantee == "label":
        cast["label"], answers["label"] = _numbered(votes.labels, label, partial(_names, snapshot))
    distances = np.linalg.norm(snapshot.exact(order) - mean, axis=1)
    with traces.span("certify"):
        certificate = certify_votes(cast, answers, terms)
    counts = tuple(int(count) for count in of_items[order])
    return Outcome(Neighbors(order, distances, np.inf), counts, certificate, searching)


def _elected(snapshot: Snapshot, votes: Rows, mean: Array) -> int:
    """The label of most votes, of equal ones the first by name; without any, that of the nearest item."""
    labels, counts = np.unique(votes[votes >= 0], return_counts=True)
    if not len(labels):
        return snapshot.label(int(snapshot.nearest(mean, 1).rows[0]))
    best = labels[counts == counts.max()]
    return int(best[np.argmin(_names(snapshot, best))])


def _names(snapshot: Snapshot, labels: Rows) -> NDArray[np.object_]:
    return np.array([snapshot.label_names[label] for label in labels], object)


def _numbered(votes: Rows, answer: int, keys: Callable[[Rows], NDArray[Any]]) -> tuple[Rows, int]:
    """Votes and answer by numbers in the order of `keys`: of as many votes the smallest number wins.

    So which of them wins depends on the content of the gallery alone, not on its history.
    """
    known = np.unique(np.append(votes, answer))
    known = known[known >= 0]
    ranks = np.empty(len(known), np.int64)
    ranks[np.argsort(keys(known), kind="stable")] = np.arange(len(known))
    places = np.searchsorted(known, np.maximum(votes, known[0]))
    return np.where(votes >= 0, ranks[places], -1), int(ranks[np.searchsorted(known, answer)])
