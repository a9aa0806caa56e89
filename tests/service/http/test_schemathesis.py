"""What schemathesis makes of the OpenAPI document, with all of its checks: nothing is answered with a 500."""

import re
import subprocess
import sys
from pathlib import Path

from tests.service.processes import Server

EXECUTABLE = Path(sys.executable).with_name("schemathesis")
RUN = [
    "--checks=all", "--seed=1", "--max-examples=15", "--max-time=15", "--request-timeout=20",
    "--continue-on-failure", "--workers=2", "--suppress-health-check=all", "--generation-database=none",
    "--no-color", "--no-shrink", "--output-truncate=false",
]  # fmt: skip
# The check that it names so when an answer is a 500.
SERVER_ERROR = "Server error"


def test_no_request_that_schemathesis_makes_is_a_500(demo_server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [EXECUTABLE, "run", f"{demo_server.url}/openapi.json", *RUN],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated is not None, done.stdout
    assert int(generated[1].replace(",", "")) > 100
    assert SERVER_ERROR not in done.stdout, done.stdout
    assert "Traceback" not in demo_server.log.read_text()
