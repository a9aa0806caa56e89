"""A server or an import that is killed in the middle of changes loses none that it has answered."""

import json
import subprocess
import sys
from pathlib import Path

KILLS, IMPORTS = 3, 2
CODE = """
import json, sys
from pathlib import Path
from bench.import_kills import imports_killed
from bench.kills import killed
of = {"server": killed, "import": imports_killed}
print(json.dumps(of[sys.argv[1]](int(sys.argv[2]), 7, Path(sys.argv[3]))))
"""


def survived(what: str, kills: int, folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, what, str(kills), folder],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] == kills
    return report


def test_no_answered_change_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    report = survived("server", KILLS, tmp_path)
    assert report["changes_answered"] >= KILLS
    assert report["version"] >= report["changes_answered"]
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_nothing_that_an_import_stored_is_lost_when_it_is_killed(tmp_path: Path) -> None:
    survived("import", IMPORTS, tmp_path)
