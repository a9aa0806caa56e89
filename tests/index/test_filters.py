"""Filters: what they mean, what is refused, and that a view is the gallery of the items that they match."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from certify import EmbeddingSpace, Terms
from index import (
    FilterError,
    FilterTooLarge,
    Gallery,
    GalleryStore,
    Item,
    NewItem,
    NotReadYet,
    Snapshot,
    StoreFailure,
    read_filter,
)
from index.blending import blend
from index.clusters import FEW
from index.fields import Column
from index.views import Views
from service.retrieval.contest import Arranged, Contest
from tests.index.filtering import FILTERS, METADATA, Json, filter_of, matches
from tests.index.items import MODEL, new

SPACE = EmbeddingSpace.normalized(2, padded=True)


def ids(snapshot: Snapshot) -> list[str]:
    return [item.id for item in snapshot.items]


def gallery_of(path: Path, items: list[NewItem], weight: float = 0.5) -> Gallery:
    found = Gallery(path, MODEL, 2, weight)
    if items:
        found.add(items)
    return found


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("cat", "an object"),
        ([], "a list"),
        ({"shop": 7}, "shop: no field"),
        ({"metadata": 7}, "no field"),
        ({"metadata.": 7}, "no field"),
        ({"$nor": []}, "no field"),
        ({"label": 3}, "label: is text, got a number"),
        ({"label": None}, r"got null; \$exists"),
        ({"metadata.n": {"a": 1}}, "metadata.n: a is no operator"),
        ({"metadata.n": {}}, "no operator"),
        ({"metadata.n": [1]}, "got a list"),
        ({"metadata.n": {"$in": 1}}, "takes a list, got a number"),
        ({"metadata.n": {"$gt": True}}, "takes a number or text, got true"),
        ({"metadata.n": {"$prefix": 1}}, "takes text, got a number"),
        ({"metadata.n": {"$exists": 1}}, "takes true or false"),
        ({"metadata.n": float("nan")}, "got a number"),
        ({"label": {"$gt": "a"}}, r"\$gt is no operator here"),
        ({"id": {"$exists": True}}, r"\$exists is no operator here"),
        ({"metadata.\ud800": 1}, "no Unicode"),
        ({"label": "\ud800"}, "no Unicode"),
        ({"$and": []}, "at least one"),
        ({"$or": {"label": "a"}}, "got an object"),
        ({"$not": [{"label": "a"}]}, "got a list"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_in_a_line(document: Any, told: str) -> None:
    with pytest.raises(FilterError, match=told) as caught:
        filter_of(document)
    assert "\n" not in str(caught.value)


def test_a_filter_has_a_size() -> None:
    def read(document: Json) -> None:
        read_filter(document, most_conditions=4, most_values=3)

    read({"$or": [{"label": "a"}, {"label": {"$in": ["a", "b"]}}]})
    with pytest.raises(FilterError, match="more than 4 members"):
        read({"$or": [{"label": "a"}, {"label": {"$in": ["a"]}, "id": "b"}]})
    with pytest.raises(FilterError, match="more than 3 values"):
        read({"label": {"$in": ["a", "b"]}, "id": {"$in": ["c", "d"]}})
    deep: Json = {"label": "a"}
    for _ in range(10_000):
        deep = {"$not": deep}
    with pytest.raises(FilterError, match="more than 4 members"):
        read(deep)


def test_equal_filters_are_equal_whatever_their_order_and_1_is_not_true() -> None:
    assert filter_of({"label": "a", "id": "b"}) == filter_of({"id": "b", "label": "a"})
    assert filter_of({"metadata.n": 1}) != filter_of({"metadata.n": True})
    assert hash(filter_of({"label": "a"})) == hash(filter_of({"label": "a"}))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    metadata=st.lists(METADATA, min_size=1, max_size=12),
    filters=st.lists(FILTERS, min_size=1, max_size=4),
)
def test_a_filter_matches_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, metadata: list[Json], filters: list[Json]
) -> None:
    """In a gallery that grows: what was read before, and what comes after."""
    items = [Item(f"item-{n}", "ab"[n % 2], data) for n, data in enumerate(metadata)]
    half = len(items) // 2
    news = [new(item.id, item.label, (0.1, 0.05 * n), item.metadata) for n, item in enumerate(items)]
    gallery = gallery_of(tmp_path_factory.mktemp("filters") / "gallery.sqlite3", news[:half])
    for document in filters:
        gallery.filtered(filter_of(document))
    gallery.add(news[half:])
    gallery.add([new("item-0", "b", metadata={"n": 1})])
    items = [*items[1:], Item("item-0", "b", {"n": 1})]
    for document in filters:
        assert ids(gallery.filtered(filter_of(document))) == [i.id for i in items if matches(i, document)]
    gallery.close()


def test_a_key_that_has_dots_is_found(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "gallery.sqlite3", [
        new("dots", metadata={"a.b": 1, "a": {"b": 2}}), new("deep", metadata={"a": {"b": 1, "b.c": 2}}),
    ])  # fmt: skip
    assert ids(gallery.filtered(filter_of({"metadata.a.b": 1}))) == ["dots", "deep"]
    assert ids(gallery.filtered(filter_of({"metadata.a.b": 2}))) == []
    assert ids(gallery.filtered(filter_of({"metadata.a.b.c": 2}))) == ["deep"]
    gallery.close()


def drawn(count: int) -> list[NewItem]:
    """Items of ten labels around centres of their own, some twice, with a number and a share of 0 to 9."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.6, 0.6, (10, 2))
    places = centres[np.arange(count) % 10] + 0.05 * rng.standard_normal((count, 2))
    places[1::50] = places[0::50][: len(places[1::50])]
    shares = rng.integers(10, size=count).tolist()
    return [
        new(f"item-{n}", str(n % 10), place, {"n": n, "share": share})
        for n, (place, share) in enumerate(zip(places, shares, strict=True))
    ]


SAMPLES = (np.array([0.1, -0.2]) + 0.1 * np.random.default_rng(3).standard_normal((2, 400, 2))).astype(
    np.float32
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, list[NewItem], NDArray[np.float64]]:
    """A gallery in clusters, with some items in the open segment, and its vectors as they are searched."""
    items = drawn(3 * FEW)
    gallery = gallery_of(tmp_path_factory.mktemp("large") / "gallery.sqlite3", items[:-100])
    gallery.snapshot()
    gallery.add(items[-100:])
    labels = np.array([int(one.item.label) for one in items])
    vectors = blend(np.stack([one.vector for one in items]), labels, 0.5).astype(np.float64)
    return gallery, items, vectors


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metadata.share": {"$ne": 3}},
        {"metadata.share": 3},
        {"label": {"$in": ["1", "7"]}, "metadata.n": {"$lt": 5000}},
        {"label": "4"},
        {"id": "item-17"},
        {"metadata.n": {"$gte": 3 * FEW - 150}},
    ],
)
def test_a_view_is_complete(
    large: tuple[Gallery, list[NewItem], NDArray[np.float64]], document: Json
) -> None:
    """Neighbours, what is outside, votes and rivals, against numpy over the items that match."""
    gallery, items, vectors = large
    view = gallery.filtered(filter_of(document))
    places = np.array([n for n, one in enumerate(items) if matches(one.item, document)])
    assert ids(view) == [items[place].item.id for place in places]
    assert (len(view), view.of_size) == (len(places), len(items))
    exact, labels = vectors[places], np.array([int(items[place].item.label) for place in places])
    np.testing.assert_array_equal(view.vectors, exact.astype(np.float32))
    for samples in SAMPLES:
        point = view.lift(samples.mean(axis=0)[None])[0]
        distances = np.sort(np.linalg.norm(exact - point, axis=1))
        for count in (1, 5, 40):
            found = view.nearest(point, count)
            np.testing.assert_allclose(found.distances, distances[:count], atol=1e-6)
            rest = distances[count] if count < len(distances) else np.inf
            assert found.outside <= rest + 1e-6
            assert found.outside >= rest - 1e-3
        answer = int(view.nearest(point, 1).rows[0])
        behind = {"label": np.flatnonzero(labels != labels[answer]),
                  "item": np.delete(np.arange(len(view)), answer)}  # fmt: skip
        contest = Contest(view, Arranged().of(view), SPACE, "embedding", Terms(0.25, 0.01), top_k=1)
        chosen, rivals = contest.choose(view.lift(samples))
        assert chosen == answer
        for claim, expected in behind.items():
            mine = rivals[claim]  # type: ignore[index]
            serials = np.concatenate([part.segment.columns.serials for part in view.parts])
            held = np.sort(serials[view.of_others(-1)])
            assert sorted(np.searchsorted(held, serials[mine.behind])) == expected.tolist()
            np.testing.assert_array_equal(
                np.sort(mine.vectors.rows[np.flatnonzero(mine.behind)], axis=0),
                np.sort(exact[expected].astype(np.float32), axis=0),
            )
        votes = view.votes(view.lift(samples))
        nearest = np.linalg.norm(exact[None] - view.lift(samples)[:, None], axis=2)
        sure = votes.rows >= 0
        picked = nearest[np.flatnonzero(sure), votes.rows[sure]]
        np.testing.assert_allclose(picked, nearest.min(axis=1)[sure], atol=1e-6)


def test_a_view_of_few_is_certified_as_a_gallery_of_these_alone(tmp_path: Path) -> None:
    """Without a label weight; with one, the vectors are those that the others have a part in."""
    items = drawn(300)
    gallery = gallery_of(tmp_path / "gallery.sqlite3", items, weight=0.0)
    for document in ({"metadata.share": {"$lt": 4}}, {"label": "4"}, {"id": "item-7"}):
        view = gallery.filtered(filter_of(document))
        some = [one for one in items if matches(one.item, document)]
        alone = Snapshot(0, [one.item for one in some], [one.vector for one in some], 2)
        space = EmbeddingSpace.normalized(2)
        outcomes = [
            Contest(each, Arranged().of(each), space, "embedding", Terms(0.25, 0.01), top_k=3).outcome(
                SAMPLES[0]
            )
            for each in (view, alone)
        ]
        assert outcomes[0].certificate == outcomes[1].certificate
        assert outcomes[0].neighbors.distances.tolist() == outcomes[1].neighbors.distances.tolist()
        assert view.digest != alone.digest  # what is left out has a part in it
    gallery.close()


def test_a_view_shares_what_certificates_need_of_its_segments(
    large: tuple[Gallery, list[NewItem], NDArray[np.float64]],
) -> None:
    gallery, _, _ = large
    arranged = Arranged()
    whole = arranged.of(gallery.snapshot())
    assert arranged.of(gallery.filtered(filter_of({"metadata.share": {"$ne": 3}}))) is whole
    assert len(arranged.of(gallery.filtered(filter_of({"metadata.share": 3}))).rows) < FEW  # copied


def test_a_digest_tells_views_apart(large: tuple[Gallery, list[NewItem], NDArray[np.float64]]) -> None:
    gallery, _, _ = large
    documents: list[Json] = [
        {"metadata.share": 3}, {"metadata.share": 4}, {"metadata.share": {"$ne": 3}}, {"id": "item-1"},
        {"id": "item-2"}, {"metadata.share": {"$ne": 4}}, {"label": "none"},
    ]  # fmt: skip
    digests = [gallery.filtered(filter_of(document)).digest for document in documents]
    assert len({*digests, gallery.snapshot().digest}) == len(documents) + 1
    same = gallery.filtered(filter_of({"metadata.share": {"$in": [3, 3]}}))
    assert same.digest == digests[0]
    assert same is gallery.filtered(filter_of({"metadata.share": {"$in": [3, 3]}}))


def test_a_change_elsewhere_changes_the_digest_of_a_view(tmp_path: Path) -> None:
    """It moves the blended vectors of its label, which the view may hold too."""
    gallery = gallery_of(tmp_path / "gallery.sqlite3", [new("one", "a", (0.1, 0.2)), new("two", "a")])
    only = filter_of({"id": "one"})
    before = gallery.filtered(only)
    gallery.add([new("three", "a", (0.5, 0.5))])
    after = gallery.filtered(only)
    assert before.vectors.tolist() != after.vectors.tolist()
    assert before.digest != after.digest
    gallery.store.delete(["three"])
    assert gallery.filtered(only).digest == before.digest
    gallery.close()


@pytest.mark.parametrize("most_bytes", [16_000, 2**28])
def test_views_are_right_however_little_is_kept(tmp_path: Path, most_bytes: int) -> None:
    items = drawn(200)
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2, filter_bytes=most_bytes)
    gallery.add(items)
    for _ in range(2):
        for share in range(10):
            document = {"metadata.share": share, "id": {"$prefix": "item-1"}}
            found = gallery.filtered(filter_of(document))
            assert ids(found) == [one.item.id for one in items if matches(one.item, document)]
    kept = gallery._views
    views = kept._views[gallery.snapshot()]
    assert kept._fields._bytes <= most_bytes
    assert views._bytes <= most_bytes
    assert len(views._kept) == {16_000: 3, 2**28: 10}[most_bytes]
    gallery.close()


def test_a_view_holds_what_the_gallery_held_in_its_version(tmp_path: Path) -> None:
    """While another connection adds, replaces and deletes."""
    path = tmp_path / "gallery.sqlite3"
    gallery = gallery_of(path, drawn(100))
    document = {"metadata.share": {"$lt": 5}, "id": {"$prefix": "item-"}}
    held = {one.item.id: one.item for one in drawn(100)}
    expected = {gallery.snapshot().version: sum(matches(item, document) for item in held.values())}
    stop = threading.Event()

    def change() -> None:
        writer, rng = GalleryStore(path), np.random.default_rng(5)
        while not stop.is_set():
            number, share = int(rng.integers(150)), int(rng.integers(10))
            if f"item-{number}" in held and share < 3:
                after = {id_: item for id_, item in held.items() if id_ != f"item-{number}"}
                act: Callable[[], int] = lambda: writer.delete([f"item-{number}"])  # noqa: B023, E731
            else:
                one = new(f"item-{number}", "a", (0.1, 0.1), {"share": share})
                after = held | {one.item.id: one.item}
                act = lambda: writer.add([one], MODEL)  # noqa: B023, E731
            expected[max(expected) + 1] = sum(matches(item, document) for item in after.values())
            held.clear()
            held.update(after)
            act()
        writer.close()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        seen = dict[int, int]()
        while len(seen) < 40:
            view = gallery.filtered(filter_of(document))
            seen[view.version] = len(view)
    finally:
        stop.set()
        thread.join()
    assert seen == {version: expected[version] for version in seen}
    gallery.close()


def test_of_an_item_that_was_damaged_no_filter_guesses_what_was_stored(tmp_path: Path) -> None:
    """It is searched, and whether it is a rival is not known: nothing is answered until that is mended."""
    items = [
        new("a", "cat", metadata={"price": 1}),
        new("b", "dog", metadata={"price": 1}),
        new("c", "cat", metadata={"price": 2}),
    ]
    gallery = gallery_of(tmp_path / "gallery.sqlite3", items)
    assert len(gallery.snapshot()) == 3
    with closing(sqlite3.connect(tmp_path / "gallery.sqlite3")) as db, db:
        db.execute("UPDATE items SET metadata = ? WHERE id = ?", ('{"price": 2}', "a"))
    for price in (1, 2):
        with pytest.raises(StoreFailure, match=r"^1 items were changed or damaged .* add the folder again"):
            gallery.filtered(filter_of({"metadata.price": price}))
    assert ids(gallery.filtered(filter_of({"label": "dog"}))) == ["b"]
    gallery.add(items[:1])
    assert sorted(ids(gallery.filtered(filter_of({"metadata.price": 1})))) == ["a", "b"]


@pytest.mark.parametrize("document", [{"id": "a"}, {"id": {"$prefix": "a"}}, {"id": {"$in": ["a", "c"]}}])
def test_ids_are_read_with_their_checksums(tmp_path: Path, document: Json) -> None:
    items = [new("a", "cat"), new("b", "dog"), new("c", "cat")]
    gallery = gallery_of(tmp_path / "gallery.sqlite3", items)
    assert len(gallery.snapshot()) == 3
    with closing(sqlite3.connect(tmp_path / "gallery.sqlite3")) as db, db:
        db.execute("UPDATE items SET label = ? WHERE id = ?", ("dog", "a"))
    with pytest.raises(StoreFailure, match=r"^1 items were changed or damaged"):
        gallery.filtered(filter_of(document))
    gallery.add(items[:1])
    assert "a" in ids(gallery.filtered(filter_of(document)))
    gallery.close()


@pytest.mark.parametrize("document", [{"id": "a"}, {"id": {"$prefix": "a"}}, {"id": {"$ne": "a"}}])
def test_an_id_that_was_damaged_hides_no_item_from_a_filter_by_id(tmp_path: Path, document: Json) -> None:
    items = [new("a", "cat"), new("b", "dog"), new("c", "cat")]
    gallery = gallery_of(tmp_path / "gallery.sqlite3", items)
    assert len(gallery.snapshot()) == 3
    with closing(sqlite3.connect(tmp_path / "gallery.sqlite3")) as db, db:
        db.execute("UPDATE items SET id = ? WHERE id = ?", ("z", "a"))
    with pytest.raises(StoreFailure, match=r"^1 items were changed or damaged"):
        gallery.filtered(filter_of(document))
    gallery.close()


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.fields.hash", lambda id_: len(id_), raising=False)
    gallery = gallery_of(tmp_path / "gallery.sqlite3", [new(id_) for id_ in ("a", "b", "cc", "c")])
    assert ids(gallery.filtered(filter_of({"id": {"$in": ["c", "cc", "x"]}}))) == ["cc", "c"]
    gallery.close()


def test_a_filter_that_asks_for_too_much_is_refused_before_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.fields.LOT", 10)
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2, filter_bytes=30_000)
    gallery.add(drawn(1000))
    share, number = filter_of({"metadata.share": 1}), filter_of({"metadata.n": 1})
    assert len(gallery.filtered(share)) > 0
    read = list[int]()
    count = Views._check_room

    def counted(views: Views, fields: Any) -> None:
        read.append(sum(field.bytes for field in fields))
        count(views, fields)

    monkeypatch.setattr(Views, "_check_room", counted)
    for _ in range(2):
        with pytest.raises(FilterTooLarge, match=r"30000 bytes .* RETRIEVALGUARD_MAX_FILTER_BYTES"):
            gallery.filtered(number)
    assert max(read) < 30_000 + 10 * 200  # a lot more than there may be
    once = len(read)
    with pytest.raises(FilterTooLarge):
        gallery.filtered(number)
    assert len(read) == once  # it is known
    assert len(gallery.filtered(share)) > 0
    # Fewer items: they fit, though what was read of the others did not.
    gallery.store.delete([f"item-{n}" for n in range(100, 1000)])
    assert ids(gallery.filtered(number)) == ["item-1"]
    gallery.close()


def test_items_that_are_gone_take_no_memory_from_a_filter(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite3", MODEL, 2, filter_bytes=60_000)
    for turn in range(4):
        gallery.add([new(f"item-{turn}-{n}", metadata={"n": 1000 * turn + n}) for n in range(200)])
        assert len(gallery.filtered(filter_of({"metadata.n": {"$gte": 0}}))) == 200
        gallery.store.delete([f"item-{turn}-{n}" for n in range(200)])
    gallery.close()


def test_what_cannot_be_read_in_time_is_read_on_for_who_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.fields.LOT", 7)
    items = drawn(500)
    gallery = gallery_of(tmp_path / "gallery.sqlite3", items)
    wanted, other = filter_of({"metadata.share": 3, "metadata.n": {"$lt": 400}}), filter_of({"metadata.n": 1})
    with gallery._views._making, pytest.raises(NotReadYet):  # somebody else is reading
        gallery.filtered(wanted, 0.01)
    with pytest.raises(NotReadYet) as caught:
        gallery.filtered(wanted, 0)
    assert 1 <= caught.value.seconds < 60
    behind = gallery._views._behind
    assert behind is not None
    behind.join(60)
    expected = [one.item.id for one in items[:400] if one.item.metadata["share"] == 3]
    assert ids(gallery.filtered(wanted, 0)) == expected
    assert ids(gallery.filtered(other, 0)) == ["item-1"]  # the field is known
    gallery.add([new("item-1000", "1", metadata={"n": 1})])
    assert ids(gallery.filtered(other, 0)) == ["item-1", "item-1000"]  # few are read in any case
    gallery.close()


def test_whoever_stops_reading_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.fields.LOT", 7)
    gallery = gallery_of(tmp_path / "gallery.sqlite3", drawn(100))
    column, rows = Column("share"), list[int]()
    with gallery.store.scan() as db:
        while not rows or rows[-1] < 100:
            with closing(column.read(db)) as lots:
                rows.append(next(lots))
    assert rows == [*range(7, 100, 7), 100]
    found = column.serials(filter_of({"metadata.share": {"$gte": 0}}).conditions[0])
    assert found.tolist() == list(range(1, 101))
    gallery.close()


def test_closing_ends_what_is_read_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.fields.LOT", 1)
    gallery = gallery_of(tmp_path / "gallery.sqlite3", drawn(3000))
    with pytest.raises(NotReadYet):
        gallery.filtered(filter_of({"metadata.n": 1}), 0)
    gallery.close()
    assert gallery._views._behind is not None
    assert not gallery._views._behind.is_alive()
