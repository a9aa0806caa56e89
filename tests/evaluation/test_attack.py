"""The certificate against an adversary who has everything but the noise."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from evaluation.attack import Attacked, AttackPlan, run
from evaluation.material import Material
from models.datasets import DATASETS
from service.retrieval.adversary import Effort
from service.settings import Settings
from tests.service.processes import Server, copy_gallery, run_cli

DIGITS = Material(None, "digits", 8)
EFFORT = Effort(restarts=1, steps=10, draws=32)


@pytest.fixture(scope="module")
def far(demo_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An attack of three radii, and the smallest that succeeds."""
    plan = AttackPlan(DIGITS, ("label",), samples=512, scale=3.0, smallest=True, effort=EFFORT)
    return run(plan, demo_settings, tmp_path_factory.mktemp("counterexamples"))


def test_no_attack_inside_the_radius_changes_an_answer(demo_settings: Settings, tmp_path: Path) -> None:
    # So many that an item is certified too, whatever the noise of this version of the code.
    plan = AttackPlan(Material(None, "digits", 16), samples=768, effort=EFFORT)
    report = run(plan, demo_settings, tmp_path / "counterexamples")
    assert report["queries"] == 16
    assert report["guarantees"]["label"]["attacked"] >= 12
    assert report["guarantees"]["item"]["attacked"] >= 1
    for one in report["details"]:
        assert 0.9 * one["radius"] < one["size"] < one["radius"]
        assert not one["changed"]
    assert [found["broken"] for found in report["guarantees"].values()] == [0, 0]
    assert report["counterexamples"] == []
    assert not (tmp_path / "counterexamples").exists()


def test_the_attack_is_strong_enough_to_mean_something(far: dict[str, Any]) -> None:
    found = far["guarantees"]["label"]
    assert found["changed"] >= found["attacked"] / 2 >= 3
    assert found["broken"] == 0
    assert found["mean_radius"] == pytest.approx(np.mean([one["radius"] for one in far["details"]]), abs=1e-4)


def test_the_smallest_perturbation_is_beyond_the_radius_and_within_the_attack(far: dict[str, Any]) -> None:
    ratios = []
    for one in far["details"]:
        assert one["size"] <= 3 * one["radius"] * (1 + 1e-6)
        if one["changed"]:
            assert one["radius"] < one["smallest"] <= one["size"]
        ratios += [one["smallest"] / one["radius"]] if one["smallest"] else []
    summary = far["guarantees"]["label"]
    assert summary["smallest_found"] == len(ratios)
    assert summary["smallest_over_radius"]["median"] == pytest.approx(np.median(ratios), abs=1e-3)
    assert summary["smallest_over_radius"]["median"] < 3


@pytest.mark.parametrize(
    ("size", "changed", "smallest", "broken"),
    [
        (0.9, False, None, False),
        (0.9, True, None, True),
        (1.0, True, None, False),
        (3.0, True, 1.1, False),
        (3.0, True, 0.99, True),
        (0.9, False, 0.99, True),
    ],
)
def test_a_change_below_the_radius_breaks_the_certificate(
    size: float, changed: bool, smallest: float | None, broken: bool
) -> None:
    assert Attacked("query", "label", 1.0, size, changed, smallest).broken == broken


def test_the_command_writes_report_and_plot(demo_gallery: Path, tmp_path: Path) -> None:
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    done = run_cli(
        copy_gallery(demo_gallery, tmp_path / "data"), "attack", "--gallery", "--queries", "2",
        "--samples", "512", "--radius", "0.2", "--restarts", "1", "--steps", "4", "--draws", "16",
        "--smallest", "--json", str(report), "--plot", str(plot), "--counterexamples", str(tmp_path / "none"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads(report.read_text())
    assert json.loads(done.stdout) == {name: value for name, value in written.items() if name != "details"}
    assert (written["data"], written["queries"], written["radius"]) == ("gallery", 2, 0.2)
    assert all(one["size"] <= 0.2 * (1 + 1e-6) for one in written["details"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "none").exists()


def test_a_certificate_that_claims_too_much_is_found_out(
    demo_gallery: Path, demo_server: Server, tmp_path: Path
) -> None:
    """With radii three times too large, the command fails, and what it leaves changes a service's answer."""
    folder = tmp_path / "counterexamples"
    with mock.patch("certify.certificate.round_down", lambda radius: 3 * radius):
        done = run_cli(
            copy_gallery(demo_gallery, tmp_path / "data"), "attack", "--gallery", "--queries", "3",
            "--guarantee", "label", "--samples", "512", "--restarts", "1", "--steps", "10", "--draws", "32",
            "--counterexamples", str(folder),
        )  # fmt: skip
    assert done.returncode == 1
    assert f"an answer changed within its certified radius: {folder}/label-001" in done.stderr
    facts = json.loads((folder / "label-001" / "facts.json").read_text())
    assert facts["moved_by"] < facts["radius"]
    assert facts["answer"]["label"] != facts["answer_moved"]["label"]
    query, moved = (
        json.loads((folder / "label-001" / f"{name}.json").read_text())["pixels"]
        for name in ("query", "moved")
    )
    assert np.linalg.norm(np.array(moved) - np.array(query)) == pytest.approx(facts["moved_by"])
    data = DATASETS["digits"]("gallery")
    assert np.array_equal(np.array(query, np.float32), data.tensors[data.ids.index(facts["id"])])
    answers = [
        demo_server.client.post("/retrieve", json={"pixels": pixels, "max_samples": 512}).json()
        for pixels in (query, moved)
    ]
    assert answers[0]["neighbor"]["label"] == facts["answer"]["label"]
    assert answers[1]["neighbor"]["label"] == facts["answer_moved"]["label"]


def test_attacks_go_on_where_they_were_cut_short(demo_settings: Settings, tmp_path: Path) -> None:
    plan = AttackPlan(Material(None, "digits", 3), ("label",), samples=512, effort=Effort(1, 4, 16))
    report = run(plan, demo_settings, tmp_path / "none", tmp_path / "attack")
    kept = tmp_path / "attack" / "attacks.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    kept.write_text("".join(lines[:-2]) + lines[-2][:20])
    assert run(plan, demo_settings, tmp_path / "none", tmp_path / "attack") == report
    assert kept.read_text().splitlines(keepends=True) == lines


def test_a_plot_needs_what_it_shows(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "attack", "--plot", str(tmp_path / "plot.png"))
    assert refused.returncode == 2
    assert "--smallest" in refused.stderr
