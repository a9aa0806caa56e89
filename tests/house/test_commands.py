"""Every command that the documents tell a user to type is one, with options that it has."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from retrievalguard.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# In a block of code or between backticks, perhaps after settings.
TYPED = re.compile(r"(?:^ {4}|^|`)((?:[A-Z_]+=\S+ )*)retrievalguard ([^`\n]+)", re.MULTILINE)


def typed(document: Path) -> list[str]:
    """What follows `retrievalguard` in `document`, without comments and dots."""
    found = [line.split("  #")[0].strip() for _, line in TYPED.findall(document.read_text())]
    return [line for line in found if re.match(r"(--)?[a-z]", line)]


def fault(words: list[str]) -> str | None:
    """Why `words` are no command, if so."""
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") and words and not words[0].startswith("-"):
        return f"there is no command {words[0]!r}"
    known = {"--help"} | {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    unknown = [word for word in words if re.match(r"--[a-z]", word) and word.split("=")[0] not in known]
    return f"no option {unknown[0]} of {command.name}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_are_there(document: Path) -> None:
    wrong = {line: why for line in typed(document) if (why := fault(shlex.split(line.replace("|", " "))))}
    assert not wrong


def test_commands_are_found_and_told_from_others() -> None:
    assert sum(len(typed(document)) for document in DOCUMENTS) > 20
    assert fault(["gallery", "add", "photos", "--replace"]) is None
    assert fault(["gallery", "ad", "photos"]) == "there is no command 'ad'"
    assert fault(["model", "info", "--sigma"]) == "no option --sigma of info"
