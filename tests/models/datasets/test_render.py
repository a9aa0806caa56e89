"""The script that draws the sheets, on packages of three icons: which icon is which character."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets.emoji import DESIGNS, FOLDER

COLOURS = ("red", "lime", "blue", "black", "yellow")
CHARACTERS = {
    "2764-fe0f": "red-heart",
    "1f47d": "alien",
    "1f408": "cat",
    "1f44b": "hand",
    "1f44b-1f3fb": "hand-light",
}
Table = dict[str, dict[str, str]]


def package(folder: Path, icons: dict[str, str], aliases: dict[str, str], characters: dict[str, str]) -> None:
    """An icon set whose icons are squares of one colour, 8 units a side."""
    folder.mkdir(parents=True)
    bodies = {name: {"body": f'<path d="M0 0h8v4h-8z" fill="{colour}"/>'} for name, colour in icons.items()}
    named = {name: {"parent": parent} for name, parent in aliases.items()}
    content = {"icons": bodies, "aliases": named, "width": 8, "height": 8}
    (folder / "icons.json").write_text(json.dumps(content))
    (folder / "chars.json").write_text(json.dumps(characters))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packages, output = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("sheets")
    every = dict(zip(CHARACTERS.values(), COLOURS, strict=True))
    for design in ("noto", "fluent-emoji-flat"):
        package(packages / design, every, {"pussycat": "cat"}, CHARACTERS)
    # One picture for two characters, and a third.
    package(packages / "twemoji", every | {"cat": "red"}, {}, CHARACTERS)
    # Names in Unicode, without hyphens; an older name; names that nobody knows.
    package(packages / "fxemoji", {"heavyblackheart": "navy", "extraterrestrialalien": "teal"}, {}, {})
    package(packages / "noto-v1", {"red-heart": "red", "pussycat": "blue", "alien": "gray"}, {}, {})
    package(packages / "emojione", {"martian": "green", "red-heart": "red"}, {"alien": "martian"}, {})
    package(packages / "fluent-emoji", {"sphinx": "green", "alien": "purple"}, {}, {})
    subprocess.run([sys.executable, FOLDER / "render.py", packages, output], check=True, timeout=60)
    return output


@pytest.fixture(scope="module")
def table(drawn: Path) -> Table:
    with (drawn / "table.csv").open(newline="") as file:
        return {row["label"]: row for row in csv.DictReader(file)}


def designs(row: dict[str, str]) -> set[str]:
    return {design for design in DESIGNS if row[design]}


def test_icons_are_found_by_character_by_name_by_older_names_and_by_unicodes(table: Table) -> None:
    assert designs(table["alien"]) == set(DESIGNS)
    assert table["alien"]["character"] == "1f47d"
    # The red heart of twemoji looks as its cat does: neither is taken.
    assert designs(table["red-heart"]) == {"noto", "fluent-emoji-flat", "fxemoji", "noto-v1", "emojione"}
    assert table["red-heart"]["character"] == "2764"


def test_what_has_fewer_than_four_drawings_and_skin_tones_are_left_out(table: Table) -> None:
    assert list(table) == ["alien", "red-heart"]


def test_a_picture_stands_where_the_table_says(drawn: Path, table: Table) -> None:
    for label, colour in (("alien", (0, 255, 0)), ("red-heart", (255, 0, 0))):
        place = 48 * int(table[label]["noto"])
        picture = np.asarray(Image.open(drawn / "noto.webp").convert("RGB"))[:48, place : place + 48]

        assert (picture[:24] == colour).all()
        assert (picture[24:] == 255).all()
