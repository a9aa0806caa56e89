"""Whether who is named wins, as `python -m evaluation.explained` tries it."""

from contextlib import closing
from pathlib import Path

import pytest

from evaluation.explained import Explained, Rivalry, report, trials
from evaluation.kept import Kept
from models import one_thread
from service.retriever import Retriever


def test_the_smallest_change_is_outside_of_the_radius_and_a_run_goes_on(
    demo_retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Explained]:
        with one_thread(), closing(Kept(tmp_path / "kept.jsonl", "this", Explained)) as kept:
            *_, last = trials("digits", demo_retriever, kept, 2)
        return last

    found = run()
    assert len(found) == 2
    for one in found:
        assert one.winner is not None
        assert one.size is not None
        assert one.radius < one.size < 4 * one.radius
        assert len(one.named) == 3
    monkeypatch.setattr(Rivalry, "explained", None)  # what is kept is not worked out again
    assert run() == found


def test_the_report_counts_who_was_named_among_those_that_changed() -> None:
    named, nearest = [["1", "a"], ["2", "b"]], ["3", "c"]
    found = [
        Explained("w", 0.5, named, nearest, ["1", "a"], 1.0),
        Explained("x", 0.5, named, nearest, ["2", "b"], 1.5),
        Explained("y", 0.5, named, nearest, ["3", "d"], 0.5),
        Explained("z", 0.5, named, nearest, ["1", "e"], 2.0),
        Explained("q", 0.5, named, nearest, None, None),
    ]
    assert report(found) == {
        "answers": 5,
        "changed": 4,
        "smallest over radius, median": 2.5,
        "to the label that is named": 0.5,
        "to one of the labels that are named": 0.75,
        "to the item that is named": 0.25,
        "to the label that is nearest": 0.25,
        "to the item that is nearest": 0.0,
    }
