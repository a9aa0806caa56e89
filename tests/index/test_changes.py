"""Changes to single items, each on its condition: two writers, the order of items, the version."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from index import (
    Gallery,
    GalleryError,
    GalleryStore,
    Item,
    ItemChanged,
    ItemDamaged,
    ItemMissing,
    Place,
    always,
    delete_item,
    delete_where,
    first_with_image,
    if_new,
    image_checksum,
    list_items,
    put_items,
    revise,
    stored_item,
)
from tests.index.items import MODEL, loaded, new


@pytest.fixture
def store(place: Place) -> Iterator[GalleryStore]:
    opened = GalleryStore(place)
    yield opened
    opened.close()


def ids(store: GalleryStore, **what: str) -> list[str]:
    return [one.item.id for one in list_items(store, most=100, **what)[0]]


def test_a_new_item_is_added_an_equal_one_is_no_change_and_another_is_refused(store: GalleryStore) -> None:
    assert put_items(store, [new("one"), new("two")], MODEL) == (1, ["added", "added"])
    assert put_items(store, [new("one"), new("two", label="b")], MODEL) == (1, ["unchanged", "refused"])
    mixed = [new("two", image=b"x"), new("three"), new("three", label="b")]
    assert put_items(store, mixed, MODEL) == (2, ["refused", "added", "refused"])
    assert ids(store) == ["one", "two", "three"]
    assert stored_item(store, "three").item == Item("three", "a")


def test_a_tag_is_of_all_that_an_item_is(store: GalleryStore) -> None:
    for other in (new("a"), new("a", "b"), new("a", metadata={"n": 1}), new("a", image=b"x"), new("b")):
        put_items(store, [other], MODEL, always)
    one, two = stored_item(store, "a"), stored_item(store, "b")
    assert one.tag != two.tag
    assert put_items(store, [new("a", "b")], MODEL, lambda there, wanted: there == one.tag)[1] == ["replaced"]
    assert put_items(store, [new("a", "c")], MODEL, lambda there, wanted: there == one.tag)[1] == ["refused"]
    assert stored_item(store, "a").tag != one.tag


def test_of_two_writers_who_saw_the_same_item_one_is_told(store: GalleryStore, place: Place) -> None:
    put_items(store, [new("one")], MODEL)
    seen = stored_item(store, "one").tag
    others = [GalleryStore(place) for _ in range(8)]
    told = list[str]()

    def write(other: GalleryStore, label: str) -> None:
        try:
            revise(other, "one", label=label, condition=lambda there, wanted: there == seen)
        except ItemChanged:
            told.append(label)

    threads = [threading.Thread(target=write, args=(other, f"label {n}")) for n, other in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == len(others) - 1
    assert store.version() == 2
    assert stored_item(store, "one").item.label not in told
    for other in others:
        other.close()


def test_a_revision_keeps_image_and_vector_and_goes_to_the_end(place: Place) -> None:
    gallery = Gallery(place, MODEL, 2)
    store = gallery.store
    gallery.put([new("one", vector=(1, 0)), new("two", vector=(0, 1))])
    before = gallery.snapshot().digest
    version, found = revise(store, "one", label="b")
    assert (version, found.item) == (2, Item("one", "b"))
    assert found == stored_item(store, "one")
    assert revise(store, "one", metadata={"n": 1})[1].item == Item("one", "b", {"n": 1})
    assert revise(store, "one", label="b", metadata={"n": 1})[0] == 3  # nothing changes
    assert ids(store) == ["two", "one"]
    assert store.image("one") == (b"an image", "image/png")
    _, items, vectors = loaded(store, MODEL)
    assert items == [Item("two", "a"), Item("one", "b", {"n": 1})]
    assert np.array_equal(vectors, [[0, 1], [1, 0]])
    assert gallery.snapshot().version == 3
    assert gallery.snapshot().digest != before
    gallery.close()


def test_what_cannot_be_sent_back_is_not_stored(store: GalleryStore) -> None:
    put_items(store, [new("one")], MODEL)
    with pytest.raises(GalleryError):
        revise(store, "one", metadata={"n": float("nan")})
    with pytest.raises(GalleryError):
        revise(store, "one", label="\ud800")
    with pytest.raises(GalleryError):
        put_items(store, [new("two"), new("three", vector=(np.inf, 0))], MODEL)
    assert ids(store) == ["one"]
    assert store.version() == 1


def test_what_is_damaged_is_never_unchanged_and_can_be_put_again(store: GalleryStore) -> None:
    put_items(store, [new("label"), new("image"), new("sound")], MODEL)
    tags = {id_: stored_item(store, id_).tag for id_ in ids(store)}
    with store.transaction() as db:
        db.execute("UPDATE items SET label = ? WHERE id = ?", ("x", "label"))
        db.execute("UPDATE items SET image = ? WHERE id = ?", (b"\0", "image"))
    assert ids(store) == ["image", "sound"]
    with pytest.raises(ItemDamaged):
        stored_item(store, "label")
    with pytest.raises(ItemDamaged):
        revise(store, "label", label="b")
    with pytest.raises(ItemChanged):
        delete_item(store, "label", lambda there, wanted: there == tags["label"])
    again = [new("label"), new("image"), new("sound")]
    assert put_items(store, again, MODEL, always)[1] == ["replaced", "replaced", "unchanged"]
    assert {id_: stored_item(store, id_).tag for id_ in ids(store)} == tags


def test_items_are_deleted_by_label_and_by_prefix(store: GalleryStore) -> None:
    names = ["x/1", "x/2", "X/3", "x%4", "y/é", "y/éa"]
    put_items(store, [new(name, label="even" if n % 2 else "odd") for n, name in enumerate(names)], MODEL)
    assert delete_where(store, prefix="x/") == (2, 2)
    assert delete_where(store, prefix="x/") == (2, 0)
    assert delete_where(store, prefix="y/", label="even") == (3, 1)
    assert ids(store) == ["X/3", "x%4", "y/é"]
    assert delete_where(store, label="odd") == (4, 2)
    assert delete_item(store, "x%4") == 5
    with pytest.raises(ItemMissing):
        delete_item(store, "x%4")
    assert ids(store) == []


def test_pages_hold_every_item_once_while_others_come_and_go(store: GalleryStore) -> None:
    names = [f"item {number:02d}" for number in range(25)]
    put_items(store, [new(name, label=name[-1]) for name in names], MODEL)
    seen, after = list[str](), 0
    while True:
        found, following = list_items(store, most=4, after=after)
        seen += [one.item.id for one in found]
        if following is None:
            break
        after = following
        delete_item(store, seen[-1])
        put_items(store, [new(f"later {after}")], MODEL)
    assert seen[:25] == names
    assert len(set(seen)) == len(seen)
    assert ids(store, label="2") == ["item 02", "item 12", "item 22"]
    assert list_items(store, most=100, label="nothing") == ([], None)


def test_the_first_item_with_an_image_is_found(store: GalleryStore) -> None:
    put_items(
        store, [new("one", image=b"x"), new("two", "b", image=b"y"), new("three", "c", image=b"y")], MODEL
    )
    image = image_checksum(b"image/png", b"y")
    assert first_with_image(store, image, but="one") == ("two", "b")
    assert first_with_image(store, image, but="two") == ("three", "c")
    assert first_with_image(store, image_checksum(b"image/jpeg", b"y"), but="one") is None
    assert not if_new("a tag", "another")
