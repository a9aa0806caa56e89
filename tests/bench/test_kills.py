"""A server that is killed in the middle of changes loses none that it has answered."""

import json
import subprocess
import sys
from pathlib import Path

KILLS = 5
CODE = """
import json, sys
from pathlib import Path
from bench.kills import killed
print(json.dumps(killed(int(sys.argv[1]), 7, Path(sys.argv[2]))))
"""


def test_no_answered_change_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(KILLS), tmp_path],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] == KILLS
    assert report["changes_answered"] >= KILLS
    assert report["version"] >= report["changes_answered"]
    assert "Traceback" not in (tmp_path / "server.log").read_text()
