"""A TypeScript client on generated types: they compile strictly, and ask a real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service.processes import Server
from tests.service.queries import tensor

PROJECT = Path(__file__).parent / "typescript"
NPM, NODE = shutil.which("npm"), shutil.which("node")

pytestmark = pytest.mark.skipif(NPM is None or NODE is None, reason="node and npm are not installed")


def run(folder: Path, *command: str | Path, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, demo_server: Server) -> Path:
    """The program, with what it needs and the types of the server's document."""
    folder = tmp_path_factory.mktemp("typescript") / "project"
    shutil.copytree(PROJECT, folder)
    installed = run(folder, str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts", seconds=300)
    if "network" in installed.stderr or "ENOTFOUND" in installed.stderr:
        pytest.skip("npm reaches no registry")
    assert installed.returncode == 0, installed.stderr
    (folder / "openapi.json").write_bytes(demo_server.client.get("/openapi.json").content)
    made = run(folder, "node_modules/.bin/openapi-typescript", "openapi.json", "--output", "api.d.ts")
    assert made.returncode == 0, made.stderr
    return folder


def test_the_types_compile_strictly_and_the_program_asks(project: Path, demo_server: Server) -> None:
    compiled = run(project, "node_modules/.bin/tsc")
    assert compiled.returncode == 0, compiled.stdout
    pixels = tensor(0).tolist()
    asked = run(project, str(NODE), "ask.js", demo_server.url, json.dumps(pixels))
    assert asked.returncode == 0, asked.stderr
    query = {"pixels": pixels, "guarantee": "item", "top_k": 2}
    answer = demo_server.client.post("/retrieve", json=query).json()
    assert json.loads(asked.stdout) == {
        "sigma": demo_server.client.get("/model").json()["sigma"],
        "label": answer["neighbor"]["label"],
        "radius": answer["certificate"]["radius"],
        "second": answer["neighbors"][0]["id"],
        "listed": answer["neighbor"]["label"],
        "refused": ["top_k"],
    }
