"""Files that are moved and attacked within their radius, as `python -m evaluation.files` does it."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evaluation.files import Trial, Tried, files, report
from evaluation.kept import Kept
from evaluation.photos import FORMS, photo, pixels
from evaluation.workbench import held_out
from service.retriever import Retriever


@pytest.mark.parametrize("form", FORMS)
def test_a_file_moved_by_less_than_a_length_is_closer_than_that(form: str) -> None:
    content = FORMS[form](photo(held_out("digits", 9).pixels[4], (60, 44), seed=1))
    found = pixels(content)
    generator = np.random.default_rng(0)
    for radius in (0.01, 0.5, 3.0):
        for direction in (generator.standard_normal(found.values.shape), np.ones(found.values.shape)):
            moved = pixels(found.moved(direction, radius).file())
            assert moved.white == found.white
            assert np.linalg.norm(moved.unit - found.unit) < radius


def test_no_attack_on_the_file_inside_its_radius_changes_an_answer(demo_retriever: Retriever) -> None:
    trial = Trial(demo_retriever)
    sizes = [(90, 50), (17, 130), (8, 8), (33, 20)]
    queries = held_out("digits", len(sizes))
    tried = [
        trial.file(
            queries.ids[row], form(photo(queries.pixels[row], size, seed=row)), row, random=7, attacks=1
        )
        for row, (form, size) in enumerate(zip(FORMS.values(), sizes, strict=False))
    ]
    certified = [one for one in tried if one is not None]
    counts = report(len(sizes), certified)["counts"]
    assert counts["files"] == len(certified) >= 3
    for kind in ("random", "attacked", "enlarged most"):
        assert counts[kind] >= counts["files"]
        assert counts[f"{kind}: input moved by the radius"] == counts[f"{kind}: answer changed"] == 0
    # Else it would say nothing.
    assert counts["beyond: input moved by the radius"] > 0
    assert counts["beyond: answer changed"] >= counts["beyond"] / 2
    assert min(one.share for one in certified) > 0.99


def test_a_run_that_was_cut_short_goes_on(
    demo_retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes] = []

    def tried(self: Trial, id_: str, content: bytes, seed: int) -> Tried:
        contents.append(content)
        return Tried(id_, {"random": 1}, seed / 1_000, 0.2, {"random": 0.5})

    def run(count: int, kept: str) -> tuple[int, list[Tried]]:
        with closing(Kept(tmp_path / kept, "this", Tried)) as results:
            *_, last = files("digits", demo_retriever, results, count)
        return last

    monkeypatch.setattr(Trial, "file", tried)
    whole = run(3, "whole")
    assert run(2, "cut short") != whole
    assert run(3, "cut short") == whole
    assert contents[:3] == contents[3:]  # each was tried once, of the same file as in one go
    assert report(*whole)["counts"] == {"asked": 3, "files": 3, "random": 3}
