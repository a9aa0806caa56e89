"""Random histories of changes: what a gallery grew into is what a fresh load, and brute force, make of it.

Neighbours, the bound on all others, votes, rivals, the digest, and the certificate: to the last bit.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from certify import EmbeddingSpace, Terms
from index import Gallery, GalleryStore, Place, Snapshot
from index.blending import blend
from index.history import newest
from service.retrieval.contest import Contest, vectors_of
from tests.index.filtering import filter_of, matches
from tests.index.items import MODEL, new

Array = NDArray[np.float64]

LABELS = st.sampled_from(["a", "b", "é", "z"])
IDS = st.sampled_from([f"item-{number}" for number in range(12)])
# On a grid there are ties and duplicates; between its points there are none.
GRID = st.integers(-3, 3).map(lambda number: number / 8)
FREE = st.floats(-0.625, 0.625, width=32)
PLACES = st.tuples(GRID, GRID) | st.tuples(FREE, FREE)
FILTERS: list[dict[str, Any]] = [
    {"metadata.n": {"$lt": 2}}, {"label": "a"}, {"$or": [{"label": "b"}, {"metadata.n": 1}]},
    {"id": {"$prefix": "item-1"}, "$not": {"metadata.n": 0}},
]  # fmt: skip
POINTS = np.array([[0.0, 0.0], [0.3, -0.2], [-0.375, 0.25], [0.6, 0.6]])


class Histories(RuleBasedStateMachine):
    """A gallery that lives, beside a dictionary of what it has to hold."""

    @initialize(weight=st.sampled_from([0.0, 0.5]))
    def begin(self, weight: float) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.weight = weight
        self.at = self.place()
        self.gallery = Gallery(self.at, MODEL, 2, weight)
        self.held = dict[str, tuple[str, Any, dict[str, int]]]()

    def place(self) -> Place:
        return self.folder / "gallery.sqlite3"

    def teardown(self) -> None:
        self.gallery.close()
        shutil.rmtree(self.folder)

    @rule(changes=st.lists(st.tuples(IDS, LABELS, PLACES, st.integers(0, 2)), min_size=1, max_size=4))
    def add(self, changes: list[tuple[str, str, Any, int]]) -> None:
        items = [new(id_, label, place, {"n": number}) for id_, label, place, number in changes]
        self.gallery.add(items)
        for id_, label, place, number in changes:
            self.held.pop(id_, None)
            self.held[id_] = (label, place, {"n": number})

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.held)), min_size=1, max_size=3, unique=True))
        self.gallery.store.delete(ids)
        for id_ in ids:
            del self.held[id_]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), place=PLACES)
    def embed(self, data: st.DataObject, place: Any) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.held)))
        self.gallery.set_vectors({id_: np.array(place, np.float32)})
        label, _, metadata = self.held[id_]
        self.held[id_] = (label, place, metadata)

    @rule(change=st.tuples(IDS, LABELS, PLACES))
    def add_in_another_process_and_back(self, change: tuple[str, str, Any]) -> None:
        """Content that comes and goes leaves no trace, except for the item that it replaced."""
        id_, label, place = change
        other = GalleryStore(self.at)
        other.add([new(id_, label, place)], MODEL)
        other.delete([id_])
        other.close()
        self.held.pop(id_, None)

    @rule()
    def look(self) -> None:
        """A version that is seen between two changes; without it they are one step."""
        self.gallery.snapshot()

    @invariant()
    def it_is_as_if_it_had_always_been_so(self) -> None:
        if not hasattr(self, "gallery"):
            return
        mine = self.newest()
        fresh = Gallery(self.at, MODEL, 2, self.weight)
        try:
            assert mine.version == fresh.snapshot().version
            self.compare(mine, fresh.snapshot())
            for document in FILTERS:  # all of them, so that what was read for them grows
                view = self.gallery.filtered(filter_of(document))
                assert [item.id for item in view.items] == [i.id for i in mine.items if matches(i, document)]
            document = FILTERS[mine.version % len(FILTERS)]
            self.compare(self.gallery.filtered(filter_of(document)), fresh.filtered(filter_of(document)))
        finally:
            fresh.close()
        items = [new(id_, label, place, data) for id_, (label, place, data) in self.held.items()]
        by_hand = Snapshot(0, [one.item for one in items], [one.vector for one in items], 2, self.weight)
        self.compare(mine, by_hand)
        self.check_brute_force(mine)

    def newest(self) -> Snapshot:
        """Of a server, a change by another connection is heard of within a second."""
        with self.gallery.store.reading() as db:
            version = newest(db).number
        deadline = time.monotonic() + 1
        while self.gallery.snapshot().version != version and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.gallery.snapshot()

    def compare(self, mine: Snapshot, other: Snapshot) -> None:
        assert mine.digest == other.digest
        assert mine.layout == other.layout
        assert [(i.id, i.label, i.metadata) for i in mine.items] == [
            (i.id, i.label, i.metadata) for i in other.items
        ]
        assert mine.vectors.tobytes() == other.vectors.tobytes()
        if not len(mine):
            return
        names = [snapshot.label_names for snapshot in (mine, other)]
        for point in mine.lift(POINTS):
            for count in (1, 3, 20):
                ours, theirs = mine.nearest(point, count), other.nearest(point, count)
                assert ours.rows.tolist() == theirs.rows.tolist()
                assert ours.distances.tolist() == theirs.distances.tolist()
                assert ours.outside == theirs.outside
        ours, theirs = mine.votes(mine.lift(POINTS), 1e-3), other.votes(other.lift(POINTS), 1e-3)
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert [names[0][label] if label >= 0 else None for label in ours.labels] == [
            names[1][label] if label >= 0 else None for label in theirs.labels
        ]
        space = EmbeddingSpace.normalized(2, padded=self.weight > 0)
        samples = 0.3 * np.random.default_rng(0).standard_normal((300, 2)).clip(-2, 2)
        outcomes = [
            Contest(each, vectors_of(each), space, "embedding", Terms(0.25, 0.01), top_k=2).outcome(
                samples.astype(np.float32)
            )
            for each in (mine, other)
        ]
        assert outcomes[0].certificate == outcomes[1].certificate
        assert outcomes[0].neighbors.rows.tolist() == outcomes[1].neighbors.rows.tolist()

    def check_brute_force(self, mine: Snapshot) -> None:
        """Against numpy and the dictionary, without a line of the index but the formula of blending."""
        if not self.held:
            assert len(mine) == 0
            return
        plain = np.array([place for _, place, _ in self.held.values()], np.float32)
        names = [label for label, _, _ in self.held.values()]
        labels = np.array([sorted(set(names)).index(name) for name in names])
        exact = (blend(plain, labels, self.weight) if self.weight else plain).astype(np.float64)
        np.testing.assert_allclose(mine.vectors, exact, atol=1e-7)
        for point in mine.lift(POINTS):
            distances = np.sort(np.linalg.norm(exact - point, axis=1))
            for count in (1, 3):
                found = mine.nearest(point, count)
                np.testing.assert_allclose(found.distances, distances[:count], atol=1e-6)
                assert found.outside <= (distances[count] if count < len(distances) else np.inf) + 1e-6
        label = mine.label(0)
        behind = mine.of_others(label)
        assert behind.sum() == sum(name != mine.label_names[label] for name in names)
        assert mine.all_but(0).sum() == len(names) - 1


def run(histories: Callable[[], Histories], examples: int) -> None:
    """Some histories, always the same."""
    run_state_machine_as_test(
        histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
