"""What becomes of every entry of a source: counts that sum to what was found, and nothing in silence."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import Gallery, Item, StoreFailure
from service.errors import GalleryFailure
from service.gallery.findings import Findings
from service.gallery.intake import AddReport, Intake
from service.gallery.items import Addition
from service.gallery.sources import sources
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import opened
from tests.service.queries import digit, folder_of


@pytest.fixture(scope="module")
def _retriever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    data = tmp_path_factory.mktemp("intake")
    with opened(Settings(data_dir=data, gallery_samples=128, redis_url=None)) as retriever:
        yield retriever


@pytest.fixture
def retriever(_retriever: Retriever) -> Retriever:
    """A gallery that is empty."""
    there = _retriever.gallery.store.ids()
    if there:
        _retriever.gallery.store.delete(there)
    return _retriever


def counts(report: AddReport) -> tuple[int, int, int, int, int]:
    return report.added, report.replaced, report.unchanged, len(report.refused), report.deleted


def ids(retriever: Retriever) -> list[str]:
    return [item.id for item in retriever.snapshot().items]


def test_every_entry_is_counted_once(retriever: Retriever, tmp_path: Path) -> None:
    files = {
        "3/a.png": digit(0), "3/b.png": digit(0)[:30], "5/c.png": digit(1), "5/notes.txt": b"x",
        "top.png": digit(2), "5/.DS_Store": b"x", "5/d.gif": b"GIF89a",
    }  # fmt: skip
    found = sources(str(folder_of(tmp_path, files)))
    report = retriever.intake.add(found)
    assert counts(report) == (2, 0, 0, 1, 0)
    assert report.found == found.total == len(files)
    assert "b.png" in report.refused[0].place
    assert sum(report.skipped.values()) == 4
    for part in ("7 found", "2 added", "1 refused", "1 skipped (hidden or system)"):
        assert part in str(report)
    again = retriever.intake.add(found)
    assert counts(again) == (0, 0, 2, 1, 0)
    assert again.found == found.total


def test_what_is_there_is_replaced_only_when_told_to(retriever: Retriever, tmp_path: Path) -> None:
    retriever.intake.add(
        sources(str(folder_of(tmp_path / "one", {"3/a.png": digit(0), "3/b.png": digit(1)})))
    )
    other = sources(str(folder_of(tmp_path / "two", {"3/a.png": digit(2), "3/b.png": digit(1)})))

    kept = retriever.intake.add(other)
    assert counts(kept) == (0, 0, 1, 1, 0)
    assert "--replace" in kept.refused[0].reason
    assert retriever.gallery.store.image("3/a.png")[0] == digit(0)

    replaced = retriever.intake.add(other, replace=True)
    assert counts(replaced) == (0, 1, 1, 0, 0)
    assert retriever.gallery.store.image("3/a.png")[0] == digit(2)


def test_a_changed_label_is_a_change(retriever: Retriever, tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": digit(0)})
    for label in ("cat", "dog"):
        (tmp_path / f"{label}.csv").write_text(f"path,label\na.png,{label}\n")
    retriever.intake.add(sources(str(tmp_path / "cat.csv")))
    assert counts(retriever.intake.add(sources(str(tmp_path / "dog.csv")))) == (0, 0, 0, 1, 0)
    retriever.intake.add(sources(str(tmp_path / "dog.csv")), replace=True)
    assert retriever.gallery.store.item("a.png") == Item("a.png", "dog")


def test_pruning_deletes_what_the_source_lacks_under_its_prefix(retriever: Retriever, tmp_path: Path) -> None:
    both = folder_of(tmp_path / "both", {"3/a.png": digit(0), "3/b.png": digit(1)})
    one = folder_of(tmp_path / "one", {"3/b.png": digit(1)})
    for prefix in ("x/", "y/"):
        retriever.intake.add(sources(str(both), prefix=prefix))
    report = retriever.intake.add(sources(str(one), prefix="x/"), prune=True, prefix="x/")
    assert counts(report) == (0, 0, 1, 0, 1)
    assert "1 deleted" in str(report)
    assert ids(retriever) == ["x/3/b.png", "y/3/a.png", "y/3/b.png"]


def test_nothing_is_pruned_when_an_entry_could_not_be_read(retriever: Retriever, tmp_path: Path) -> None:
    retriever.intake.add(
        sources(str(folder_of(tmp_path / "full", {"3/a.png": digit(0), "3/b.png": digit(1)})))
    )
    broken = folder_of(tmp_path / "broken", {"3/a.png": digit(0), "3/c.png": digit(1)[:30]})
    report = retriever.intake.add(sources(str(broken)), prune=True)
    assert counts(report) == (0, 0, 1, 1, 0)
    assert any("nothing was deleted" in warning for warning in report.warnings)
    assert ids(retriever) == ["3/a.png", "3/b.png"]


def test_equal_images_under_two_labels_are_told(retriever: Retriever, tmp_path: Path) -> None:
    files = {"3/a.png": digit(0), "5/b.png": digit(0), "5/c.png": digit(1), "5/d.png": digit(1)}
    report = retriever.intake.add(sources(str(folder_of(tmp_path, files))))
    (warning,) = report.warnings
    assert "equal images have different labels: '3/a.png' ('3') and '5/b.png' ('5')" in warning
    assert "c.png" not in warning


def test_an_image_that_the_gallery_has_under_another_label_is_told(
    retriever: Retriever, tmp_path: Path
) -> None:
    for name, warned in (("3/one.png", 0), ("3/again.png", 0), ("5/two.png", 1), ("3/one.png", 0)):
        source = sources(str(folder_of(tmp_path / str(len(list(tmp_path.iterdir()))), {name: digit(0)})))
        warnings = retriever.intake.add(source).warnings
        assert len(warnings) == warned
        for warning in warnings:
            assert "labels: '3/one.png' ('3') and '5/two.png' ('5')" in warning


def test_an_empty_finding_changes_nothing(retriever: Retriever) -> None:
    version = retriever.gallery.store.version()
    assert retriever.intake.add(Findings()).found == 0
    assert retriever.gallery.store.version() == version


def test_what_is_looked_up_beside_an_item_cannot_fail_after_it_is_stored(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*asked: object, **named: object) -> None:
        raise StoreFailure("the disk is away")

    monkeypatch.setattr("service.gallery.intake.first_with_image", away)
    with pytest.raises(GalleryFailure):
        retriever.items.put("late", "3", {}, digit(0))
    with pytest.raises(GalleryFailure):
        retriever.items.add_all([Addition("later", "3", {}, digit(1))])
    assert ids(retriever) == []


def test_replicas_that_start_together_share_what_another_model_has_left_to_embed(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two on one gallery, in lots of eight; what both embed is what was in their hands at the same time."""
    monkeypatch.setattr("service.gallery.intake.BATCH", 8)
    retriever.intake.add(
        sources(str(folder_of(tmp_path, {f"a/{row}.png": digit(row) for row in range(160)})))
    )
    place, dimension = retriever.gallery.store.path, retriever.model.dimension
    asked = list[bytes]()

    class Vectors:
        at_a_time = 2

        def of(self, image: bytes) -> NDArray[np.float32]:
            asked.append(image)
            time.sleep(0.002)
            return np.full(dimension, 0.1, np.float32)

    def start(number: int) -> int:
        gallery = Gallery(place, "another model", dimension)
        Intake(gallery, Vectors(), lambda content: content).embed_missing(lambda ids: ids)  # type: ignore[arg-type, return-value]
        found = len(gallery.snapshot())
        gallery.close()
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, range(2))) == [160, 160]
    assert set(asked) == {digit(row) for row in range(160)}
    assert 160 <= len(asked) < 240
