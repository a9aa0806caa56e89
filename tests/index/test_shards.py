"""A gallery on shards answers as one on one machine does, to the last bit, or not at all."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from index import Gallery, Shard, ShardMissing, Shards, Snapshot, StoreFailure
from index.hits import Hits
from index.segment import LiveSegment
from index.shards.elsewhere import elsewhere
from index.shards.messages import Answer, Array, Fetch, Hold, Keep, Request, Search, mark_of
from index.shards.shard import LEASE
from tests.index.filtering import filter_of
from tests.index.items import MODEL, new
from tests.index.sharding import (
    ASKED,
    DIMENSION,
    FakeCopy,
    contest,
    copies,
    fill,
    galleries,
    lacking,
    place,
    samples,
    small_world,
    told,
)

ITEMS = 150


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        small_world(patch)
        yield


@pytest.fixture
def held() -> list[list[FakeCopy]]:
    return copies(2)


@pytest.fixture
def both(tmp_path: Path, held: list[list[FakeCopy]]) -> Iterator[tuple[Gallery, Gallery]]:
    """The same gallery on one machine and on two shards."""
    path = tmp_path / "gallery.sqlite3"
    first = Gallery(path, MODEL, DIMENSION, 0.5)
    fill(first, np.random.default_rng(1), ITEMS)
    first.close()
    with galleries(path, [held]) as (here, far):
        yield here, far


def assert_same(here: Snapshot, far: Snapshot, seed: int, asked: Sequence[Any] = ASKED) -> None:
    rng = np.random.default_rng(seed)
    assert (here.digest, here.layout, len(here)) == (far.digest, far.layout, len(far))
    if not len(here):
        return
    for point in [*here.lift(np.array([place(rng) for _ in range(2)])), here.exact(np.zeros(1, np.int64))[0]]:
        for count in (1, 5, 40):
            ours, theirs = here.nearest(point, count), far.nearest(point, count)
            assert (ours.rows.tolist(), ours.distances.tolist()) == (
                theirs.rows.tolist(),
                theirs.distances.tolist(),
            )
            assert ours.outside == theirs.outside
    for rule, terms in asked:
        drawn = samples(rng)
        mine, other = contest(here, rule, **terms), contest(far, rule, **terms)
        assert told(mine.outcome(drawn)) == told(other.outcome(drawn))
        rivals = [each.rivals(drawn, 3) for each in (mine, other)]
        assert rivals[0].rows.tolist() == rivals[1].rows.tolist()
        assert rivals[0].distances.tolist() == rivals[1].distances.tolist()
        sides = [[side.tobytes() for side in each.sides(drawn)] for each in (mine, other)]
        assert sides[0] == sides[1]


@given(
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from("adrlcv"), min_size=3, max_size=5),
)
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happens_a_gallery_on_shards_is_the_one_on_one_machine(
    tmp_path_factory: pytest.TempPathFactory, weight: float, seed: int, history: list[str]
) -> None:
    """Adds, deletes, other labels, other vectors, compaction and views; on 1, 2 and 4 shards."""
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("shards") / "gallery.sqlite3"
    first = Gallery(path, MODEL, DIMENSION, 0.5)
    fill(first, rng, int(rng.integers(30, ITEMS)))
    first.close()
    with galleries(path, [copies(count) for count in (1, 2, 4)], weight) as every:
        for step in history:
            some = rng.integers(0, 2 * ITEMS, int(rng.integers(1, 30)))
            ids = sorted({f"item-{number}" for number in some})
            if step == "a":
                every[0].add([new(id_, f"label {rng.integers(9)}", place(rng), {"n": 1}) for id_ in ids])
            elif step == "d":
                there = {item.id for item in every[0].snapshot().items}
                every[0].store.delete([id_ for id_ in ids if id_ in there])
            elif step == "v":
                known = [item.id for item in every[0].snapshot().items][:5]
                every[0].set_vectors({id_: place(rng) for id_ in known})
            for gallery in every:  # each version is seen by all: layouts know their history
                gallery.snapshot()
                while step == "c" and gallery._keep_up():
                    pass
            asked = [ASKED[rng.integers(len(ASKED))]]
            look = int(rng.integers(2**32))
            document = {"metadata.n": {"$lt": 2}} if step == "l" else {"label": {"$ne": "label 3"}}
            far = every[1 + int(rng.integers(3))]
            assert_same(every[0].snapshot(), far.snapshot(), look, asked)
            if step in "lr":
                views = [gallery.filtered(filter_of(document)) for gallery in (every[0], far)]
                assert_same(views[0], views[1], look, asked)
        for far in every[1:]:
            assert_same(every[0].snapshot(), far.snapshot(), seed, ASKED[:1])


def test_every_kind_of_question_has_the_same_answer(both: tuple[Gallery, Gallery]) -> None:
    here, far = both
    for seed in range(3):
        assert_same(here.snapshot(), far.snapshot(), seed)


def test_vectors_stand_on_two_copies_of_their_shard_and_nowhere_else(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    parts = both[1].snapshot().parts
    sealed = [part for part in parts if part.segment.number]
    assert len(sealed) >= 3
    marks = set()
    for part in sealed:
        vectors = elsewhere(part.segment.columns.vectors)
        assert vectors is not None
        marks.add(vectors.mark)
    for pair in held:
        assert set(pair[0].shard._held) == set(pair[1].shard._held) != set()
    assert marks == {mark for pair in held for mark in pair[0].shard._held}
    assert sum(len(pair[0].shard._held) for pair in held) == len(marks)


def ask_first_copy(far: Gallery, shard: int) -> None:
    """Have the other copy be asked last, as one that has failed."""
    far._shards._shards[shard]._failed_until = [0.0, np.inf]  # type: ignore[union-attr]


def outcomes(both: tuple[Gallery, Gallery], rule: Any, terms: dict[str, Any]) -> tuple[Any, Any]:
    """What is said on one machine; and on shards, or what that raised."""
    drawn = samples(np.random.default_rng(5))
    here = told(contest(both[0].snapshot(), rule, **terms).outcome(drawn))
    try:
        return here, told(contest(both[1].snapshot(), rule, **terms).outcome(drawn))
    except ShardMissing as error:
        return here, error


def test_all_copies_work_and_each_with_all_kinds_of_questions(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    here, far = (gallery.snapshot() for gallery in both)
    asked = Counter[tuple[int, int, type[Request]]]()

    def counting(shard: int, copy: int) -> Callable[[Request, Answer], Answer]:
        def counted(request: Request, answer: Answer) -> Answer:
            asked[shard, copy, type(request)] += 1
            return answer

        return counted

    for shard, pair in enumerate(held):
        for number, copy in enumerate(pair):
            copy.falsify = counting(shard, number)
    places = np.arange(len(far))
    for number in range(200):
        point = here.exact(np.array([number % len(here)]))[0]
        assert here.nearest(point, 3).rows.tolist() == far.nearest(point, 3).rows.tolist()
        assert here.exact(places).tobytes() == far.exact(places).tobytes()
    for kind in (Search, Fetch):
        counts = [asked[shard, copy, kind] for shard in (0, 1) for copy in (0, 1)]
        assert min(counts) > 50, counts  # of 200; by chance once in 10^12 runs


@pytest.mark.parametrize(("rule", "terms"), [ASKED[0], ASKED[2], ASKED[6]], ids=str)
def test_a_copy_may_die_at_any_moment(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]], rule: Any, terms: dict[str, Any]
) -> None:
    ask_first_copy(both[1], 1)
    before = held[1][0].asked
    outcomes(both, rule, terms)
    for moment in range(held[1][0].asked - before):
        held[1][0].dead, held[1][0].dies_after = False, held[1][0].asked + moment
        here, far = outcomes(both, rule, terms)
        assert here == far
        held[1][0].dead, held[1][0].dies_after = False, None
        ask_first_copy(both[1], 1)


@pytest.mark.parametrize(("rule", "terms"), [ASKED[0], ASKED[2], ASKED[6]], ids=str)
def test_if_both_copies_die_there_is_no_answer_whenever_they_do(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]], rule: Any, terms: dict[str, Any]
) -> None:
    pair = held[1]
    ask_first_copy(both[1], 1)
    before = pair[0].asked
    here, far = outcomes(both, rule, terms)
    assert here == far
    asked = pair[0].asked - before
    assert asked >= 2
    for moment in range(asked):
        for copy in pair:
            copy.dead, copy.asked, copy.dies_after = False, 0, moment
        pair[1].dead = moment == 0
        ask_first_copy(both[1], 1)
        pair[1].dies_after = 0
        _, far = outcomes(both, rule, terms)
        assert isinstance(far, ShardMissing)
        assert far.shard == 1


def test_a_shard_that_lags_is_waited_for_and_never_left_out(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    here, far = both
    point = here.snapshot().lift(np.zeros((1, DIMENSION)))[0]
    for copy in held[1]:
        copy.falsify = lacking
    began = time.monotonic()
    with pytest.raises(ShardMissing, match="not yet"):
        far.snapshot().nearest(point, 3)
    assert 0.4 <= time.monotonic() - began < 5
    catches_up = threading.Timer(0.1, lambda: setattr(held[1][1], "falsify", None))
    catches_up.start()
    assert far.snapshot().nearest(point, 3).rows.tolist() == here.snapshot().nearest(point, 3).rows.tolist()
    catches_up.join()


def test_a_copy_that_never_got_a_segment_is_passed_over_and_mended(
    tmp_path: Path, held: list[list[FakeCopy]]
) -> None:
    path = tmp_path / "gallery.sqlite3"
    first = Gallery(path, MODEL, DIMENSION, 0.5)
    fill(first, np.random.default_rng(2), ITEMS)
    first.close()
    held[1][0].deaf = True
    with galleries(path, [held]) as (here, far):
        assert not held[1][0].shard._held
        assert_same(here.snapshot(), far.snapshot(), 0, ASKED[:1])
        held[1][0].deaf = False
        far.mend()
        assert set(held[1][0].shard._held) == set(held[1][1].shard._held) != set()
        held[1][1].dead = True
        assert_same(here.snapshot(), far.snapshot(), 1, ASKED[:1])


def test_segments_that_all_copies_lost_are_read_from_the_store_again(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    here, far = both
    for copy in held[0]:
        copy.shard = Shard()
    with pytest.raises(ShardMissing):
        far.snapshot().nearest(np.zeros(DIMENSION + 1), 1)
    far.mend()
    assert_same(here.snapshot(), far.snapshot(), 0, ASKED[:1])


def test_what_nobody_needs_any_more_is_let_go(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    _, far = both
    before = {mark for pair in held for mark in pair[0].shard._held}
    far.store.delete([item.id for item in far.snapshot().items][:100])
    far.snapshot()
    while far._keep_up():
        pass
    far.mend()
    after = {mark for pair in held for mark in pair[0].shard._held}
    parts = [elsewhere(part.segment.columns.vectors) for part in far.snapshot().parts]
    assert after == {vectors.mark for vectors in parts if vectors is not None} != before


def test_a_shard_lets_go_of_what_an_owner_needed_that_is_gone() -> None:
    now = [0.0]
    shard = Shard(lambda: now[0])
    vectors = np.ones((3, 2), np.float32)
    mark = mark_of(b"layout", vectors)
    for owner in ("one", "other"):
        shard.answer(Hold(owner=owner, layout=b"layout", vectors=vectors))
    now[0] = LEASE + 1
    (kept,) = shard.answer(Keep(owner="one", marks=(mark,))).arrays
    assert kept.tolist() == [True]
    shard.answer(Keep(owner="one", marks=()))
    (kept,) = shard.answer(Keep(owner="third", marks=(mark,))).arrays
    assert kept.tolist() == [False]


def twice() -> Callable[[Request, Answer], Answer]:
    """Every answer comes once more, instead of the next one to a question of its kind."""
    last: dict[type[Request], Answer] = {}

    def again(request: Request, answer: Answer) -> Answer:
        before = last.get(type(request), answer)
        last[type(request)] = answer
        return before

    return again


def at(index: int, change: Callable[[Array], Array]) -> Callable[[Request, Answer], Answer]:
    """One array of what is found is changed, as by a shard that computes nonsense."""

    def changed(request: Request, answer: Answer) -> Answer:
        if not isinstance(request, Search):
            return answer
        arrays = list(answer.arrays)
        arrays[index] = change(arrays[index])
        return Answer.to(request, *arrays)

    return changed


def set_first(value: Any) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        found = array.copy()
        found.reshape(-1)[0] = value
        return found

    return change


def repeated(array: Array) -> Array:
    return np.repeat(array[:, :1], array.shape[1], axis=1)


def damaged(request: Request, answer: Answer) -> Answer:
    """Bits that flip on the way."""
    return replace(answer, arrays=tuple(array + array.dtype.type(1) for array in answer.arrays))


GARBAGE: dict[str, Callable[[Request, Answer], Any]] = {
    "damaged on the way": damaged,
    "no answer": lambda request, answer: None,
    "no arrays": lambda request, answer: Answer.to(request),
    "fewer items": at(0, lambda squares: squares[:, :-1]),
    "NaN": at(0, set_first(np.nan)),
    "negative": at(0, set_first(-1)),
    "not in order": at(0, lambda squares: squares[:, ::-1]),
    "float64": at(0, lambda squares: squares.astype(np.float64)),
    "a part that was not asked about": at(1, set_first(99)),
    "a place that does not exist": at(2, set_first(10**6)),
    "an item twice": lambda request, answer: at(2, repeated)(request, at(1, repeated)(request, answer)),
    "another version": at(3, lambda leaves: leaves ^ 1),
    "a part less": at(3, lambda leaves: leaves[:-1]),
}  # fmt: skip


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_no_answer(both: tuple[Gallery, Gallery], held: list[list[FakeCopy]], what: str) -> None:
    here, far = (gallery.snapshot() for gallery in both)
    point = here.lift(place(np.random.default_rng(3))[None])[0]
    held[1][0].falsify = GARBAGE[what]
    ask_first_copy(both[1], 1)
    ours, theirs = here.nearest(point, 9), far.nearest(point, 9)
    assert (ours.rows.tolist(), ours.outside) == (theirs.rows.tolist(), theirs.outside)
    held[1][1].falsify = GARBAGE[what]
    with pytest.raises(ShardMissing):
        far.nearest(point, 9)


def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    here, far = (gallery.snapshot() for gallery in both)
    points = here.lift(np.array([place(np.random.default_rng(seed)) for seed in range(4)]))
    held[0][0].falsify = twice()
    ask_first_copy(both[1], 0)
    for point in points:
        ours, theirs = here.nearest(point, 5), far.nearest(point, 5)
        assert (ours.rows.tolist(), ours.outside) == (theirs.rows.tolist(), theirs.outside)
    held[0][1].falsify = twice()
    far.nearest(points[0], 5)
    with pytest.raises(ShardMissing, match="another question"):
        far.nearest(points[1], 5)


def test_items_that_have_left_are_not_found(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    """A copy that forgets who has left is told from one that does not."""
    here, far = both
    point = here.snapshot().exact(np.array([0]))[0]
    gone = here.snapshot().items[0].label
    here.store.delete([item.id for item in here.snapshot().items if item.label == gone])
    assert any(part.alive is not None for part in far.snapshot().parts)
    assert_same(here.snapshot(), far.snapshot(), 4, ASKED[:2])

    def forgets(request: Request, answer: Answer) -> Answer:
        if not isinstance(request, Search):
            return answer
        whole = replace(request, parts=tuple(replace(part, alive=None) for part in request.parts))
        found = [
            pair[0].shard for pair in held if all(part.mark in pair[0].shard._held for part in whole.parts)
        ]
        return Answer.to(request, *found[0].answer(whole).arrays[:3], answer.arrays[3])

    for pair in held:
        for copy in pair:
            copy.falsify = forgets
    with pytest.raises(ShardMissing, match="not there"):
        far.snapshot().nearest(point, 40)


class Forgetful(Shards):
    """The control: one shard is left out, and nobody asks whether all were searched."""

    def search(self, parts: Sequence[LiveSegment], points: Any, count: int) -> list[Hits]:
        some = [
            part if self._here(part) else LiveSegment(part.segment, np.zeros(len(part.segment), bool))
            for part in parts
        ]
        found = []
        for number, part in enumerate(some):
            if len(part):
                found += [
                    Hits(h.squares, h.parts + number, h.places) for h in super().search([part], points, count)
                ]
        return found

    def _here(self, part: LiveSegment) -> bool:
        vectors = elsewhere(part.segment.columns.vectors)
        return vectors is not None and vectors.shard != 1


def test_a_shard_that_is_dropped_silently_is_seen(
    both: tuple[Gallery, Gallery], held: list[list[FakeCopy]]
) -> None:
    """What these tests compare would notice: they fail of a coordinator that drops one."""
    here, far = both
    far._seen.view.shards.__class__ = Forgetful  # type: ignore[union-attr]
    with pytest.raises(AssertionError):
        assert_same(here.snapshot(), far.snapshot(), 0, ASKED[:1])


def test_a_coordinator_that_drops_a_shard_notices(
    both: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of what was searched is not that of the version."""
    ask_each = Shards._each
    monkeypatch.setattr(Shards, "_each", lambda self, ask, shards: ask_each(self, ask, shards[:1]))
    with pytest.raises(StoreFailure, match="not this version"):
        both[1].snapshot().nearest(np.zeros(DIMENSION + 1), 1)
