"""`retrievalguard evaluate`, as a researcher runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.certified_recall import QueryResult, summary


def test_evaluate_prints_a_table_and_writes_report_and_plot(tmp_path: Path) -> None:
    report_file, plot = tmp_path / "report.json", tmp_path / "plot.png"
    methods = ["paper", "bisector", "mean", "cdf"]
    run = subprocess.run(
        [
            Path(sys.executable).with_name("retrievalguard"), "evaluate", "--data", "digits",
            "--queries", "20", "--samples", "1000",
            *(word for method in methods for word in ("--method", method)),
            "--json", report_file, "--plot", plot,
        ],
        capture_output=True, text=True, check=True, env={"RETRIEVALGUARD_GALLERY_SAMPLES": "256"},
    )  # fmt: skip
    report = json.loads(report_file.read_text())
    assert report["queries"] == 20
    assert report["samples"] == 1000
    assert report["alpha"] == 0.001
    assert report["sigma"] == 0.25
    assert report["recall_at_1"]["smoothed"] >= 0.9
    assert list(report["methods"]) == methods
    radii = [report["methods"][method]["mean_radius"] for method in methods]
    assert radii == sorted(radii), "each method is stronger than the one before"
    assert 0 < report["methods"]["cdf"]["certified_recall"]["0.1"] <= 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    for method in methods:
        assert method in run.stdout


def test_a_wrong_answer_counts_with_radius_zero() -> None:
    results = [
        QueryResult("a", "1", True, True, {"cdf": 0.3}),
        QueryResult("b", "1", True, False, {"cdf": 0.5}),
        QueryResult("c", "1", True, True, {"cdf": 0.0}),
    ]
    row = summary(results, "cdf", 100)
    assert row["mean_radius"] == pytest.approx(0.1)
    assert row["certified_recall"] == {"0.1": 0.3333, "0.25": 0.3333, "0.5": 0.0}
    assert row["abstained"] == 1
