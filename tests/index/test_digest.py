"""The digest of a gallery's content: equal content and no other has an equal one, in every process."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import Gallery, Item, Snapshot
from tests.index.items import MODEL, new, process

ITEMS = [
    Item("a", "cat", {"path": "a.png", "tags": ["x", {"y": 1}]}),
    Item("b", "dog", {}),
    Item("c", "cat", {"path": None}),
]
VECTORS = np.array([[0.6, 0.8, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def digest(
    items: Sequence[Item] = ITEMS, vectors: Any = VECTORS, weight: float = 0.5, version: int = 7
) -> str:
    return Snapshot(version, items, list(np.array(vectors, np.float32)), 3, weight).digest


def with_first(**change: Any) -> list[Item]:
    return [replace(ITEMS[0], **change), *ITEMS[1:]]


def moved() -> Any:
    vectors = VECTORS.copy()
    vectors[2, 2] = np.nextafter(vectors[2, 2], np.float32(0))
    return vectors


OTHERS: dict[str, Callable[[], str]] = {
    "an id": lambda: digest(with_first(id="A")),
    "a label": lambda: digest(with_first(label="lion")),
    "a label of one of two": lambda: digest(with_first(label="dog")),
    "a value in the metadata": lambda: digest(
        with_first(metadata={"path": "a.png", "tags": ["x", {"y": 2}]})
    ),
    "a type in the metadata": lambda: digest(
        with_first(metadata={"path": "a.png", "tags": ["x", {"y": "1"}]})
    ),
    "no metadata": lambda: digest(with_first(metadata={})),
    "the last bit of a vector": lambda: digest(vectors=moved()),
    "the label weight": lambda: digest(weight=0.25),
    "no label weight": lambda: digest(weight=0),
    "an item less": lambda: digest(ITEMS[:2], VECTORS[:2]),
    "a letter that moves from id to label": lambda: digest(with_first(id="ac", label="at")),
    "an id that reads like the rest of an item": lambda: digest(with_first(id='a","cat",{}],["b')),
    "nothing at all": lambda: digest([], np.zeros((0, 3))),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_content_has_another_digest(kind: str) -> None:
    digests = {other: OTHERS[other]() for other in OTHERS}
    assert digests[kind] != digest()
    assert list(digests.values()).count(digests[kind]) == 1


def test_the_weight_counts_where_it_changes_no_vector() -> None:
    alone = [Item("a", "cat")]
    snapshots = [Snapshot(7, alone, [VECTORS[1]], 3, weight) for weight in (0.25, 0.5)]
    np.testing.assert_array_equal(snapshots[0].vectors, snapshots[1].vectors)
    assert snapshots[0].digest != snapshots[1].digest


def test_equal_content_has_an_equal_digest_whatever_its_version() -> None:
    reordered = with_first(metadata={"tags": ["x", {"y": 1}], "path": "a.png"})
    assert digest(reordered, VECTORS.copy(), version=8) == digest()
    assert digest(ITEMS[::-1], VECTORS[::-1]) == digest()
    assert digest().startswith("sha256:")


def test_every_item_of_a_large_gallery_counts() -> None:
    count = 3000
    vectors = np.zeros((count, 3), np.float32)
    items = [Item(f"item-{row}", "a") for row in range(count)]
    plain = digest(items, vectors)
    for row in (0, 1234, count - 1):
        changed = list(items)
        changed[row] = replace(items[row], metadata={"changed": True})
        assert digest(changed, vectors) != plain


def test_ids_and_labels_beyond_ascii_count() -> None:
    assert digest(with_first(id="ä", label="\U0001f408")) != digest(
        with_first(id="a\u0308", label="\U0001f408")
    )


def test_another_process_sees_the_same_digest_and_a_change(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite3"
    gallery = Gallery(path, MODEL, 2, 0.5)
    gallery.add([new("a", metadata={"b": 1, "a": 2.5}), new("ä", "b", (1, 0))])
    mine = gallery.snapshot().digest
    assert seen_elsewhere(path) == mine
    gallery.add([new("c")])
    assert mine != gallery.snapshot().digest == seen_elsewhere(path)
    gallery.store.delete(["c"])
    assert gallery.snapshot().digest == mine  # the version is another one, the content is not
    gallery.close()


def seen_elsewhere(path: Path) -> str:
    code = "ready(); print(Gallery(path, MODEL, 2, 0.5).snapshot().digest, flush=True)"
    with process(code, path) as running:
        assert running.stdout is not None
        return running.stdout.readline().strip()
