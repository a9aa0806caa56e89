"""The load test against a real server and a real Redis, in short; and the script for other deployments."""

import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.processes import Server

ROOT = Path(__file__).parents[2]
LOCUSTFILE = ROOT / "docs" / "examples" / "locustfile.py"
# A coarse gallery, and few samples: seconds of work on any machine.
QUICK = {"GALLERY_SAMPLES": "16", "SAMPLES": "512"}


def ran(*command: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_short_load_test_finds_nothing_wrong() -> None:
    done = ran(
        sys.executable,
        "-m",
        "bench.load",
        "--scale",
        "0.1",
        **{f"RETRIEVALGUARD_{name}": value for name, value in QUICK.items()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == 0
    assert report["capacity_per_second"] > 0
    assert set(report["open_loads"]) == {"0.5", "1.0", "1.5", "3.0"}
    assert set(report["goodput_over_that_at_capacity"]) == {"1.5", "3.0"}
    assert report["short_p95_among_long_over_among_short"] > 0
    mix = report["loads"]["mix, 8 clients"]["kinds"]
    assert set(mix) == {"cold", "repeat", "near", "big", "write", "batch"}
    for load in report["loads"].values():
        for kind in load["kinds"].values():
            assert kind["answered"] + kind["refused"] > 0
            assert kind["answered"] == 0 or 0 < kind["p50_ms"] <= kind["p95_ms"] <= kind["p99_ms"]
    keyed = report["loads"]["two keys, one greedy"]["kinds"]
    assert keyed["repeat"]["refused"] > 0  # the greedy one
    assert keyed["cold"]["answered"] > 0
    for load in report["loads"].values():
        assert load["spent"]["server_seconds"] > 0
        assert load["spent"]["client_seconds"] > 0
    assert set(report["answers_a_core_second_over_that_at_capacity"]) == {"1.5", "3.0"}
    costs = report["costs"]
    kinds = ("cold_seconds", "certify_seconds", "hit_seconds", "known_seconds")
    assert min(costs[name] for name in kinds) > 0
    assert costs["cold_samples"] > 0
    assert costs["bare_sample_seconds"] > 0
    assert report["cache_hits"]["route_per_second"] > 0
    for probe in report["probes"].values():
        assert probe["count"] > 0
        assert probe["failures"] == 0


def test_the_locustfile_finds_nothing_wrong_with_a_server(demo_server: Server, tmp_path: Path) -> None:
    done = ran(
        sys.executable, "-m", "locust", "-f", LOCUSTFILE,
        "--headless", "--users", "2", "--spawn-rate", "2", "--run-time", "3s", "--stop-timeout", "30",
        "--host", demo_server.url, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert set(found) == {"Cold", "Repeat"}
    assert all(one["num_requests"] > 0 and one["num_failures"] == 0 for one in found.values())


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the locustfile defines, without Locust, which patches a whole process when it is imported."""
    locust = ModuleType("locust")
    for name, what in (
        ("FastHttpUser", object),
        ("constant", lambda seconds: None),
        ("task", lambda method: method),
    ):
        setattr(locust, name, what)
    monkeypatch.setitem(sys.modules, "locust", locust)
    return runpy.run_path(str(LOCUSTFILE))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_the_locustfile_changes_is_another_image_that_looks_the_same(
    script: dict[str, Any], mode: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    image, file = Image.fromarray(pixels).convert(mode), io.BytesIO()
    image.save(file, "PNG")
    changed = Image.open(io.BytesIO(script["changed"](file.getvalue())))
    before, after = np.asarray(image).reshape(20, 30, -1), np.asarray(changed).reshape(20, 30, -1)
    assert changed.mode == mode
    assert np.array_equal(before[:-1], after[:-1])
    assert 1 <= (before != after).any(axis=2).sum() <= 4


def test_the_locustfile_says_what_it_cannot_send(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: Any
) -> None:
    monkeypatch.setenv("IMAGES", str(tmp_path))
    with pytest.raises(SystemExit, match=r"there is no \.png"):
        request.getfixturevalue("script")
    Image.new("P", (9, 9)).save(tmp_path / "few-colours.png")
    with pytest.raises(SystemExit, match="has a palette"):
        runpy.run_path(str(LOCUSTFILE))
