"""`retrievalguard evaluate`, as a researcher runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify import rounds
from evaluation.certified_recall import RADII, ROWS, Conditions, QueryResult, Row, summary
from evaluation.experiment import Experiment, run
from evaluation.material import Material
from evaluation.plot import STYLES
from service.settings import Settings
from tests.service.processes import run_cli

QUERIES, SAMPLES = 10, 1000
# One chunk for each item: every digit of the data set is embedded.
GALLERY_SAMPLES = 16


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, demo_gallery: Path
) -> tuple[str, dict[str, Any], bytes]:
    """What is printed, the report and the plot of one run with all rows, asked for in another order."""
    folder = tmp_path_factory.mktemp("evaluate")
    report, plot = folder / "report.json", folder / "plot.png"
    done = run_cli(
        demo_gallery, "evaluate", "--data", "digits", "--queries", str(QUERIES), "--samples", str(SAMPLES),
        *(word for method in sorted(ROWS) for word in ("--method", method)),
        "--json", str(report), "--plot", str(plot), GALLERY_SAMPLES=GALLERY_SAMPLES,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text()), plot.read_bytes()


def test_it_prints_a_table_and_writes_report_and_plot(evaluated: tuple[str, dict[str, Any], bytes]) -> None:
    printed, report, plot = evaluated
    assert report["queries"] == QUERIES
    assert report["samples"] == SAMPLES
    assert report["alpha"] == 0.001
    assert report["sigma"] == 0.25
    assert report["label_weight"] == Settings().label_weight
    assert "target_radius" not in report
    assert report["recall_at_1"].keys() == {"base", "smoothed", "vote"}
    assert report["recall_at_1"]["smoothed"] >= 0.9
    assert report["recall_at_1"]["vote"] >= 0.9
    assert plot.startswith(b"\x89PNG")
    table = [line.split() for line in printed.splitlines() if line.split()[0] in ROWS]
    assert [line[0] for line in table] == list(report["methods"]) == list(ROWS)
    for name, mean, *shares, samples in table:
        row = report["methods"][name]
        assert float(mean) == row["mean_radius"]
        assert [float(share) for share in shares] == [round(s, 3) for s in row["certified_recall"].values()]
        assert float(samples) == SAMPLES


def test_each_method_is_stronger_than_the_one_before(evaluated: tuple[str, dict[str, Any], bytes]) -> None:
    methods = evaluated[1]["methods"]
    radii = [methods[method]["mean_radius"] for method in ("paper", "bisector", "mean", "cdf")]
    assert radii == sorted(radii)
    for method in ("cdf", "vote"):
        assert 0 < methods[method]["certified_recall"]["0.1"] <= 1


def test_the_table_is_that_of_the_details(evaluated: tuple[str, dict[str, Any], bytes]) -> None:
    report = evaluated[1]
    assert len(report["details"]) == len({query["id"] for query in report["details"]}) == QUERIES
    for method, row in report["methods"].items():
        radii = np.array([query["radii"][method] for query in report["details"]])
        assert row["mean_radius"] == pytest.approx(radii.mean(), abs=5e-5)
        shares = {str(radius): round(float(np.mean(radii >= radius)), 4) for radius in RADII}
        assert row["certified_recall"] == shares
        assert row["abstained"] <= (radii == 0).sum()


def test_a_target_is_answered_from_fewer_samples_by_the_rows_that_may_stop(
    demo_settings: Settings,
) -> None:
    target, most = 0.15, 3000
    # The gallery in the data folder, in which nothing has to be embedded.
    asked = Experiment(Material(None, "digits", 8), Conditions(ROWS, most, 0.001, target))
    report = run(asked, demo_settings)
    assert report["target_radius"] == target
    for method, row in report["methods"].items():
        if method in ("paper", "bisector"):
            assert row["mean_samples"] == most
        else:
            assert min(rounds(most)) <= row["mean_samples"] < most / 2
    # Most digits are certified to 0.15, whichever rule answers, and more of them than by the paper's bound.
    certified = {
        method: np.mean([query["radii"][method] >= target for query in report["details"]]) for method in ROWS
    }
    assert min(certified["cdf"], certified["vote"]) > 0.5
    assert certified["cdf"] > certified["paper"]


def results(*found: tuple[dict[str, bool], dict[Row, float], int]) -> list[QueryResult]:
    return [
        QueryResult(
            str(number),
            "1",
            correct | {row: correct["vote" if row == "vote" else "embedding"] for row in radii},
            radii,
            dict.fromkeys(radii, samples),
        )
        for number, (correct, radii, samples) in enumerate(found)
    ]


def test_a_wrong_answer_counts_with_radius_zero() -> None:
    row = summary(
        results(
            ({"base": True, "embedding": True}, {"cdf": 0.3}, 100),
            ({"base": True, "embedding": False}, {"cdf": 0.5}, 200),
            ({"base": True, "embedding": True}, {"cdf": 0.0}, 600),
        ),
        "cdf",
    )
    assert row["mean_radius"] == pytest.approx(0.1)
    assert row["certified_recall"] == {"0.1": 0.3333, "0.25": 0.3333, "0.5": 0.0}
    assert row["abstained"] == 1
    assert row["mean_samples"] == 300


def test_the_vote_is_right_or_wrong_on_its_own() -> None:
    both = results(
        ({"base": True, "embedding": False, "vote": True}, {"cdf": 0.4, "vote": 0.2}, 100),
        ({"base": True, "embedding": True, "vote": False}, {"cdf": 0.4, "vote": 0.2}, 100),
    )
    assert [query.counted("cdf") for query in both] == [0.0, 0.4]
    assert [
        query.counted("mean") for query in results(({"base": True, "embedding": True}, {"mean": 0.1}, 9))
    ] == [0.1]
    assert [query.counted("vote") for query in both] == [0.2, 0.0]


def test_every_row_has_a_line_of_its_own_in_the_plot() -> None:
    assert STYLES.keys() == set(ROWS)
    assert len(set(STYLES.values())) == len(ROWS)


def test_a_method_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "evaluate", "--method", "guess")
    assert refused.returncode == 2
    assert "guess" in refused.stderr
    for method in ROWS:
        assert method in refused.stderr
