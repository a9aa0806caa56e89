"""`explain`: what limits the radius is what it says, and nothing else of the answer changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.noise import on_grid
from service.errors import InvalidOption
from service.gallery.sources import sources
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import Server, opened
from tests.service.queries import answer, digit, folder_of, post, tensor


@pytest.mark.parametrize(
    "options", [{}, {"guarantee": "item"}, {"guarantee": "within", "within_k": 4}], ids=str
)
def test_the_rivals_are_those_whose_margins_are_smallest_for_how_they_vary(
    demo_retriever: Retriever, options: dict[str, Any]
) -> None:
    """Of every item that has to stay behind: mean over deviation of its margin, one by one."""
    snapshot = demo_retriever.snapshot()
    vectors, labels = np.asarray(snapshot.vectors, np.float64), snapshot.labels
    unlike_nearest = 0
    for row in range(4):
        image = on_grid(tensor(row), demo_retriever.sigma)
        asked = RetrieveOptions(max_samples=512, explain=True, **options)
        found = demo_retriever.retrieve(tensor(row), asked)
        samples = snapshot.lift(demo_retriever.smoothed.first(image, 512))
        gaps = (vectors**2).sum(axis=1) / 2 - samples @ vectors.T
        nearest = np.argsort(gaps.mean(axis=0), kind="stable")
        barred = np.arange(len(labels)) == nearest[0]
        if asked.guarantee == "label":
            barred = labels == labels[nearest[0]]
        scores = np.full(len(labels), -np.inf)
        for winner in np.flatnonzero(barred):
            margins = gaps[:, ~barred] - gaps[:, [winner]]
            scores[~barred] = np.maximum(scores[~barred], margins.mean(axis=0) / margins.std(axis=0))
        order = np.argsort(scores, kind="stable")[barred.sum() :].tolist()
        if asked.guarantee == "label":
            firsts = dict(zip(reversed(labels[order].tolist()), reversed(order), strict=True))
            order = [item for item in order if item in firsts.values()]
        expected = order[options.get("within_k", 1) - 1 :][:3]
        assert found.explanation is not None
        assert [rival.id for rival in found.explanation.rivals] == [
            snapshot.items[item].id for item in expected
        ]
        assert found.explanation.rival == found.explanation.rivals[0]
        assert found.explanation.rival.distance == pytest.approx(
            np.linalg.norm(samples.mean(axis=0) - vectors[expected[0]]), abs=1e-5
        )
        unlike_nearest += expected[0] != next(item for item in nearest if not barred[item])
        assert found.explanation.expected_radius is None  # so few samples are planned for one number
        assert 0 < sum(found.explanation.alpha_spent.values()) <= found.certificate.alpha * (1 + 1e-9)
    assert unlike_nearest > 0


def test_of_many_samples_it_says_what_more_may_bring(demo_retriever: Retriever) -> None:
    found = demo_retriever.retrieve(tensor(0), RetrieveOptions(max_samples=10_000, explain=True))
    assert found.explanation is not None
    assert found.explanation.expected_radius is not None
    assert found.explanation.expected_radius >= found.certificate.radius > 0


def test_the_noise_of_all_readings_of_one_test_is_paid_for(demo_retriever: Retriever) -> None:
    """Who asks for up to 300 samples and then for more reads one test, and has met the noise of all of it."""
    whole = demo_retriever.smoothed.noise_distance(demo_retriever.settings.samples_limit)
    for most in (300, 1000, 1500):
        found = demo_retriever.retrieve(tensor(1), RetrieveOptions(max_samples=most, explain=True))
        assert found.explanation is not None
        assert found.explanation.alpha_spent["noise"] == whole > 0


def test_an_experiment_pays_for_the_samples_that_it_brings(demo_retriever: Retriever) -> None:
    """Bets for a target are planned for far fewer than it may look at."""
    contest = demo_retriever.contest(
        demo_retriever.snapshot(), alpha=0.001, samples=10_000, horizon=1000, target=0.3
    )
    assert contest.terms.noise == demo_retriever.smoothed.noise_distance(10_000)


def test_without_it_all_else_is_the_same(demo_server: Server) -> None:
    plain, explained = (answer(demo_server.client, digit(7), **asked) for asked in ({}, {"explain": "true"}))
    assert plain["explanation"] is None
    assert explained["certificate"] == plain["certificate"]
    assert explained["neighbor"] == plain["neighbor"]


def test_a_rule_without_distances_has_no_rival(demo_retriever: Retriever) -> None:
    with pytest.raises(InvalidOption, match="explain"):
        demo_retriever.retrieve(tensor(0), RetrieveOptions(rule="vote", explain=True))


@pytest.mark.parametrize("written", ["1", "yes", "True"])
def test_it_is_true_or_false(demo_server: Server, written: str) -> None:
    response = post(demo_server.client, digit(7), explain=written)
    assert response.status_code == 422
    assert response.json()["errors"][0]["option"] == "explain"


def test_where_nobody_has_to_stay_behind_there_is_no_rival(demo_settings: Settings, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"one label/0.png": digit(0), "one label/1.png": digit(1)})
    calibration = demo_settings.data_dir / "calibration.json"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "calibration.json").write_bytes(calibration.read_bytes())
    with opened(demo_settings, data_dir=tmp_path / "data") as retriever:
        retriever.intake.add(sources(folder))
        found = retriever.retrieve(tensor(2), RetrieveOptions(explain=True))
    assert found.explanation is not None
    assert found.explanation.rival is None
    assert found.explanation.rivals == []
