"""A retriever whose gallery is on shards: the same answers, or none; and what it says when one is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index import ShardMissing
from service.errors import GalleryFailure
from service.retrieval.answer import RetrieveResponse
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings, SettingsError
from tests.index.sharding import FakeCopy, copies
from tests.service.processes import copy_gallery
from tests.service.queries import tensor

OPTIONS: list[dict[str, Any]] = [
    {"explain": True, "top_k": 5},
    {"guarantee": "within", "within_k": 3, "explain": True},
    {"guarantee": "item", "method": "bisector"},
    {"rule": "vote"},
    {"filter": {"label": {"$in": ["1", "2", "3", "8"]}}},
]


@pytest.fixture(scope="module", autouse=True)
def _segments() -> Iterator[None]:
    """The demo gallery in segments of some 200 items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.growth.FEW", 100)
        patch.setattr("index.growth.SEGMENT", 200)
        patch.setattr("index.gallery.LOT", 100)
        patch.setattr("index.shards.mending.SECONDS", 0.1)
        yield


@pytest.fixture
def held() -> list[list[FakeCopy]]:
    return copies(3)


def opened(settings: Settings, folder: Path, held: list[list[FakeCopy]], **changed: Any) -> Retriever:
    data = copy_gallery(settings.data_dir, folder / "data")
    changed |= {"data_dir": data, "shard_seconds": 0.5, "gallery_shards": len(held)}
    return Retriever.open(settings.model_copy(update=changed), shards=held)


def told(answer: RetrieveResponse) -> dict[str, Any]:
    return answer.model_dump(exclude={"timing_ms", "cache"})


def test_answers_are_those_of_one_machine(
    demo_settings: Settings, tmp_path: Path, held: list[list[FakeCopy]]
) -> None:
    here = opened(demo_settings, tmp_path / "here", [])
    far = opened(demo_settings, tmp_path / "far", held)
    assert all(len(copy.shard._held) for pair in held for copy in pair)
    for row, asked in enumerate(OPTIONS):
        options = RetrieveOptions(max_samples=512, **asked)
        assert told(here.retrieve(tensor(row), options)) == told(far.retrieve(tensor(row), options))
    held[0][0].dead = held[1][1].dead = True
    for row, asked in enumerate(OPTIONS):
        options = RetrieveOptions(max_samples=512, **asked)
        assert told(here.retrieve(tensor(row + 9), options)) == told(far.retrieve(tensor(row + 9), options))
    far.close()
    here.close()
    assert not any(copy.shard._held for pair in held for copy in pair if not copy.dead)


def test_without_a_shard_there_is_no_answer(
    demo_settings: Settings, tmp_path: Path, held: list[list[FakeCopy]]
) -> None:
    far = opened(demo_settings, tmp_path, held)
    options = RetrieveOptions(max_samples=512)
    for copy in held[1]:
        copy.dead = True
    with pytest.raises(ShardMissing):
        far.check()
    with pytest.raises(GalleryFailure, match="nothing is certified without it"):
        far.retrieve(tensor(0), options)
    assert far.metrics.gallery_shard_failures._value.get() > 0
    for copy in held[1]:
        copy.dead = False
    assert far.retrieve(tensor(0), options).certificate.status == "certified"
    far.close()


@pytest.mark.parametrize("asked", [{}, {"rule": "vote"}, {"explain": True, "top_k": 3}], ids=str)
def test_or_it_abstains_and_says_why_and_keeps_nothing_of_it(
    demo_settings: Settings, tmp_path: Path, held: list[list[FakeCopy]], asked: dict[str, Any]
) -> None:
    far = opened(demo_settings, tmp_path, held, shard_missing="abstain")
    options = RetrieveOptions(max_samples=512, **asked)
    for pair in held[1:]:
        for copy in pair:
            copy.dead = True
    far.check()
    answer = far.retrieve(tensor(0), options)
    assert (answer.certificate.status, answer.certificate.radius) == ("abstained", 0)
    assert answer.certificate.reason is not None
    assert "cannot be reached" in answer.certificate.reason
    assert answer.gallery.size == len(far.snapshot())
    for pair in held[1:]:
        for copy in pair:
            copy.dead = False
    again = far.retrieve(tensor(0), options)
    assert (again.certificate.status, again.certificate.reason) == ("certified", None)
    for pair in held:
        for copy in pair:
            copy.dead = True
    with pytest.raises(GalleryFailure):
        far.retrieve(tensor(1), options)
    far.close()


def test_shards_that_are_asked_for_have_to_be_there(demo_settings: Settings) -> None:
    with pytest.raises(SettingsError, match="GALLERY_SHARDS is 2, and 0 shards"):
        Retriever.open(demo_settings.model_copy(update={"gallery_shards": 2}))
