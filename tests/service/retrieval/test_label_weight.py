"""The label weight: how much of an item's distance is that of its label, chosen anew at every start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify import Rule
from service.retrieval.assembly import SAMPLE_SLACK
from service.retrieval.options import RetrieveOptions
from service.retriever import Retriever
from service.settings import Settings
from tests.service.processes import SAMPLES, Server, copy_gallery, opened
from tests.service.queries import QUERIES, answer, ask_in_process, claims, digit, tensor


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5])
def test_a_distance_blends_that_of_the_item_and_of_its_label(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, weight: float
) -> None:
    data = copy_gallery(demo_gallery, tmp_path)
    with opened(demo_settings, data_dir=data, label_weight=0) as plain:
        vectors = plain.snapshot().vectors.astype(np.float64)
        labels = np.array([item.label for item in plain.snapshot().items])
        mean = plain.smoothed.first(tensor(2), SAMPLES).mean(axis=0, dtype=np.float64)
    squares = ((vectors - mean) ** 2).sum(axis=1)
    of_label = np.array([squares[labels == label].mean() for label in labels])
    expected = np.sqrt((1 - weight) * squares + weight * of_label)

    with opened(demo_settings, data_dir=data, label_weight=weight) as retriever:
        body = ask_in_process(retriever, tensor(2).tolist(), top_k=100)
        rows = {item.id: row for row, item in enumerate(retriever.snapshot().items)}
    listed = [body["neighbor"], *body["neighbors"]]
    found = [rows[item["id"]] for item in listed]
    np.testing.assert_allclose([item["distance"] for item in listed], expected[found], atol=2e-6)
    np.testing.assert_allclose(expected[found], np.sort(expected)[:100], atol=1e-6)


@pytest.mark.parametrize("rule", ["embedding", "vote"])
def test_labels_that_weigh_more_leave_samples_and_gallery_vectors_as_they_were(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, rule: str
) -> None:
    data, radii = copy_gallery(demo_gallery, tmp_path), []
    for number, weight in enumerate((0.0, 0.5, 0.9)):
        with opened(demo_settings, data_dir=data, label_weight=weight) as retriever:
            assert retriever.gallery.missing() == []
            body = ask_in_process(retriever, tensor(0).tolist(), rule=rule, max_samples=1000)
            assert body["cache"] == ("hit" if number else "miss")
            assert body["neighbor"]["label"] == QUERIES.labels[0]
            radii.append(body["certificate"]["radius"])
    assert min(radii) > 0
    if rule == "embedding":
        assert len(set(radii)) == 3


def test_a_server_without_a_label_weight_is_ready_and_answers_by_both_rules(
    demo_settings: Settings, demo_gallery: Path, rough_server: Server, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"rule": "vote", "top_k": 3},
        {"target_radius": 0.01, "max_samples": 2000},
    ]
    alone = copy_gallery(demo_gallery, tmp_path / "alone")
    client = rough_server.client
    assert client.get("/readyz").json()["checks"]["gallery"] == "600 items"
    bodies = [claims(answer(client, digit(1), **options)) for options in asked]
    with opened(demo_settings, data_dir=alone, label_weight=0) as retriever:
        assert bodies == [
            claims(ask_in_process(retriever, tensor(1).tolist(), **options)) for options in asked
        ]
        assert retriever.snapshot().vectors.shape == (600, retriever.model.dimension)
    assert [body["neighbor"]["label"] for body in bodies] == [QUERIES.labels[1]] * 3


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_service_can_check_itself_with_and_without_a_gallery(
    demo_settings: Settings, demo_gallery: Path, tmp_path: Path, weight: float
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, size in ((tmp_path / "empty", 0), (copy_gallery(demo_gallery, tmp_path / "full"), 600)):
        with opened(demo_settings, data_dir=folder, label_weight=weight) as retriever:
            assert (retriever.space.padded, retriever.space.slack) == (weight > 0, SAMPLE_SLACK)
            assert retriever.space.holds(
                retriever.snapshot().lift(retriever.smoothed.sample(tensor(0), 0, 1))
            )
            assert retriever.check() == {"model": "digits-cnn", "gallery": f"{size} items"}


def test_the_retriever_answers_in_process_by_every_rule_and_with_a_target(
    demo_retriever: Retriever,
) -> None:
    rules: tuple[Rule, ...] = ("embedding", "vote")
    for rule in rules:
        options = RetrieveOptions(rule=rule, target_radius=0.001, max_samples=5000, top_k=2)
        found = demo_retriever.retrieve(digit(0), options)
        assert found.neighbor.label == QUERIES.labels[0]
        assert found.certificate.radius >= 0.001
        assert found.certificate.rule == rule
        assert (found.neighbor.votes is None) == (rule == "embedding")
