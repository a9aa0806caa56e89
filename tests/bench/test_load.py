"""The load test against a real server. In a process of its own: Locust patches the one that imports it."""

import json
import os
import subprocess
import sys
from typing import Any

# A coarse gallery: it is there within seconds.
QUICK = {"RETRIEVALGUARD_GALLERY_SAMPLES": "16", "RETRIEVALGUARD_SAMPLES": "256"}


def load(**environment: str) -> tuple[int, dict[str, Any]]:
    """The exit status of a short load test and the report in its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", "--users", "2", "--seconds", "3"],
        env=os.environ | QUICK | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, report


def test_every_answer_is_right_under_load() -> None:
    status, report = load()
    assert status == 0
    assert report["requests"] > 0
    assert report["failures"] == 0
    assert report["users"] == 2
    assert set(report["kinds"]) == {"cold", "repeat"}
    for kind in report["kinds"].values():
        assert kind["requests"] > 0
        assert 0 < kind["p50_ms"] <= kind["p95_ms"] <= kind["p99_ms"] <= kind["max_ms"]


def test_a_server_that_turns_users_away_fails_the_load_test() -> None:
    status, report = load(RETRIEVALGUARD_MAX_QUERIES="1")
    assert status == 1
    assert report["failures"] > 0
