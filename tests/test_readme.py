"""The README, executed: what it shows is what a newcomer gets."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server import launched
from models.datasets import digits, emoji
from service.images import png
from service.settings import Settings
from tests.service.processes import measure_once

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
SERVE, CURL, TEST, OWN = SHELL


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The first command of the README, in a data folder and on a port of its own."""
    environment = {
        **os.environ,
        "RETRIEVALGUARD_PORT": "0",
        "RETRIEVALGUARD_DATA_DIR": str(tmp_path_factory.mktemp("readme")),
    }
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with launched(["sh", "-c", f"cd {shlex.quote(str(ROOT))} && {SERVE}"], environment, log) as (_, url):
        yield url


def _keys(value: Any) -> Any:
    return {name: _keys(inner) for name, inner in value.items()} if isinstance(value, dict) else type(value)


def test_the_curl_gives_the_output_that_is_shown(served: str) -> None:
    command = CURL.replace("http://127.0.0.1:8000", served)
    printed = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, check=True).stdout
    answer = json.loads(printed)
    (shown_text,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    shown = json.loads(shown_text)
    assert _keys(answer) == _keys(shown)
    for part in ("neighbors", "gallery", "cache"):
        assert answer[part] == shown[part], part
    # How the network is run, and hence its digest, depends on the machine; how many samples it takes, too.
    assert answer["model"]["name"] == shown["model"]["name"]
    for example in (answer, shown):
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", example["model"]["digest"])
        assert 1000 <= example["certificate"]["samples"] <= Settings.model_fields["samples"].default
    assert answer["neighbor"]["label"] == shown["neighbor"]["label"]
    # Another secret, other noise.
    random = {"radius", "label_radius", "item_radius", "samples", "file_radius", "file_steps"}
    for name, value in shown["certificate"].items():
        if name not in random:
            assert answer["certificate"][name] == value, name
    assert answer["certificate"]["radius"] == pytest.approx(shown["certificate"]["radius"], abs=0.05)


def test_the_example_is_a_drawing_that_is_held_out() -> None:
    examples = sorted((ROOT / "docs" / "examples").glob("*.png"))
    assert any(str(example.relative_to(ROOT)) in CURL for example in examples)
    held_out = {
        id_: pixels
        for queries in (digits("query"), emoji("query"))
        for id_, pixels in zip(queries.ids, queries.pixels, strict=True)
    }
    for example in examples:
        assert example.read_bytes() == png(held_out[example.stem])


def test_the_test_command_is_what_ci_runs() -> None:
    assert TEST.strip() == "make test"
    assert re.search(r"^make\b.*\btest\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, check=True, capture_output=True)


def test_a_folder_of_your_own_images_becomes_a_gallery_and_is_measured(tmp_path: Path) -> None:
    data = digits("gallery")
    for pixels, label, id_ in zip(data.pixels[:4], data.labels[:4], data.ids[:4], strict=True):
        path = tmp_path / "photos" / label / f"{id_}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    # How digits-cnn runs best here is known once a test has measured it; else the first line does.
    (tmp_path / "data").mkdir()
    measure_once(tmp_path / "data", {})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    add, measure, serve = OWN.splitlines()
    added, measured = (
        subprocess.run(
            line, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        for line in (add, measure)
    )
    assert added.returncode == 0, added.stderr
    assert "the gallery has 4 items" in added.stderr
    assert measured.returncode == 0, measured.stderr
    assert "4 queries, gallery 3" in measured.stdout
    assert serve == "retrievalguard serve"


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target
