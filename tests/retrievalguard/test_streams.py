"""Ctrl-C, closed and broken streams, full disks, odd file names: a status and a line, never a traceback."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retrievalguard import streams
from tests.service.processes import Finished, ended, environment, run_cli, wait_for

COMMAND = [sys.executable, "-m", "retrievalguard"]


def shell(data: Path, line: str) -> Finished:
    """A line of shell in which $RG is the command."""
    command = ["/bin/sh", "-c", line.replace("$RG", " ".join(COMMAND))]
    return ended(command, data, environment(data) | {"PYTHONUNBUFFERED": ""}, 60)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    assert shell(tmp_path, "$RG --version > /dev/full") == Finished(
        1, "", "standard output: No space left on device\n"
    )


def test_a_closed_output_is_one_line(tmp_path: Path) -> None:
    assert shell(tmp_path, "$RG --version >&-") == Finished(1, "", "standard output: Bad file descriptor\n")


def test_a_closed_error_output_is_no_error(tmp_path: Path) -> None:
    assert shell(tmp_path, "$RG --version 2>&-").returncode == 0
    assert shell(tmp_path, "$RG evaluate --plot x.xyz 2>&-") == Finished(1, "", "")


def test_closed_streams_are_not_taken_by_the_next_file(tmp_path: Path) -> None:
    program = "from retrievalguard import streams; streams.complete(); import os; "
    program += "print(os.open('made', os.O_CREAT | os.O_RDWR), file=open('number', 'w'))"
    subprocess.run(
        ["/bin/sh", "-c", f'{sys.executable} -c "{program}" <&- >&- 2>&-'],
        cwd=tmp_path,
        env=environment(tmp_path),
        check=True,
    )
    assert int((tmp_path / "number").read_text()) > 2


def test_a_reader_that_has_left_is_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "--version"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_label_that_the_locale_cannot_write_is_escaped(tmp_path: Path) -> None:
    program = "from retrievalguard import streams; streams.complete(); print('caf\\u00e9 \\udce9')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path) | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"caf\\xe9 \\udce9\n"


def test_a_text_for_a_terminal_has_no_raw_bytes_and_no_control_characters() -> None:
    assert streams.readable("caf\udce9 \x1b[2J\u202e é\nb") == "caf\\xe9 \\x1b[2J\\u202e é\nb"


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["gallery", "add", "no/caf\udce9"], {}),
        (["gallery", "list"], {"DATA_DIR": "/dev/null/caf\udce9"}),
        (["gallery", "list"], {"MODEL": "caf\udce9"}),
        (["evaluate", "--json", "caf\udce9/x.json"], {}),
    ],
)
def test_a_name_that_is_no_utf_8_is_told_readably(
    tmp_path: Path, arguments: list[str], settings: dict[str, object]
) -> None:
    refused = run_cli(tmp_path, *arguments, **settings)
    assert refused.returncode == 1
    assert "caf\\xe9" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_an_image_whose_name_is_no_utf_8_is_told_if_it_is_not_there(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "retrieve", "caf\udce9.png")
    assert refused.returncode == 2
    assert "caf" in refused.stderr
    assert "Traceback" not in refused.stderr


# --- Ctrl-C


def running(data: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(data),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loaded(process: "subprocess.Popen[str]", library: str) -> bool:
    assert process.poll() is None
    return library in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.parametrize("library", ["_multiarray_umath", "libtorch_cpu", "faiss"])
def test_ctrl_c_while_libraries_are_loaded_is_status_130_and_no_word(tmp_path: Path, library: str) -> None:
    process = running(tmp_path, "gallery", "list")
    wait_for(lambda: loaded(process, library))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def test_ctrl_c_ends_a_server_in_order_and_with_status_130(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([*COMMAND, "serve"], env=environment(tmp_path), stderr=file)
    wait_for(lambda: re.search("running on", log.read_text()))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "Application shutdown complete" in log.read_text()
    assert "Traceback" not in log.read_text()
