"""OpenVINO is imported without its telemetry, and the rest of the process is left as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from models.passes.telemetry import without_telemetry
from tests.service.processes import environment

pytest.importorskip("openvino_telemetry")

IMPORT = """
import sys
from models.passes.openvino import core
core()
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
import openvino_telemetry
print(hasattr(openvino_telemetry, "Telemetry"))
"""


def test_openvino_works_and_its_telemetry_is_not_loaded_and_can_be_by_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env=environment(tmp_path) | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["[]", "True"]
    assert list(home.iterdir()) == []


def test_a_program_that_loaded_it_before_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = type(sys)("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    with without_telemetry():
        assert sys.modules["openvino_telemetry"] is theirs
    assert sys.modules["openvino_telemetry"] is theirs


def test_it_can_be_loaded_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with pytest.raises(RuntimeError), without_telemetry():  # noqa: PT012
        with pytest.raises(ImportError):
            import openvino_telemetry  # noqa: F401
        raise RuntimeError
    assert "openvino_telemetry" not in sys.modules
