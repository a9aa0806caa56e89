"""For maintainers: draws the sheets of emoji beside this file, from the npm packages that package.json pins.

    make emoji

Users need neither npm nor resvg. A label is one emoji character. Three packages say which character each of
their icons is; icons of the others are found by name: that of the character in one of the three, one of its
older names there, or its name in Unicode. Left out are skin tones; pictures that a designer uses for several
characters, as they have no one answer; and characters that are then left with fewer than four drawings.
"""

import csv
import io
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

DESIGNS = ("emojione", "fluent-emoji", "fluent-emoji-flat", "fxemoji", "noto", "noto-v1", "twemoji")
# The packages that know characters; the first that has one names the label.
NAMING = ("noto", "fluent-emoji-flat", "twemoji")
SIDE = 48
COLUMNS = 40
LEAST_DRAWINGS = 4
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
# Five bits a channel: half the bytes of eight, and no eye sees it in a picture of this size.
LEVELS = 31


@dataclass(frozen=True)
class IconSet:
    """One package: its `icons` by name, other names of them, and the icon of each character it knows."""

    defaults: dict[str, float]
    icons: dict[str, dict[str, str | float]]
    aliases: dict[str, str]
    characters: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "IconSet":
        """From the folder of an `@iconify-json` package."""
        content = json.loads((folder / "icons.json").read_bytes())
        icons = content["icons"]
        aliases = {
            name: alias["parent"]
            for name, alias in content.get("aliases", {}).items()
            if alias.keys() == {"parent"} and alias["parent"] in icons  # others are turned or mirrored
        }
        characters: dict[str, str] = {}
        for code, name in json.loads((folder / "chars.json").read_bytes()).items():
            characters.setdefault(_character(code), aliases.get(name, name))
        defaults = {key: content[key] for key in ("left", "top", "width", "height") if key in content}
        return cls(defaults, icons, aliases, characters)

    def draw(self, name: str) -> Pixels:
        """The picture (SIDE, SIDE, 3) of an icon, on white."""
        icon = {"left": 0, "top": 0, "width": 16, "height": 16} | self.defaults | self.icons[name]
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' width="{SIDE}" height="{SIDE}"'
            f' viewBox="{icon["left"]} {icon["top"]} {icon["width"]} {icon["height"]}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, height=2 * SIDE, background="white")
        fine = Image.open(io.BytesIO(bytes(png))).convert("RGB").reduce(2)
        levels = np.rint(np.asarray(fine) * (LEVELS / 255))
        return np.rint(levels * (255 / LEVELS)).astype(np.uint8)


def _character(code: str) -> str:
    """Code points with `-` between them, without the one that only asks for colour."""
    return "-".join(point for point in code.split("-") if point != "fe0f")


def _key(name: str) -> str:
    return name.replace("-", "").replace(" ", "").lower()


def labels_of(sets: dict[str, IconSet]) -> dict[str, str]:
    """The label of each character: the name of its icon in the first package that has one."""
    labels: dict[str, str] = {}
    for design in NAMING:
        for character, name in sets[design].characters.items():
            if not SKIN_TONES & set(character.split("-")):
                labels.setdefault(character, name)
    return labels


def characters_by_name(sets: dict[str, IconSet], characters: Iterable[str]) -> dict[str, str]:
    """Which character a name means; today's names go before older ones, these before Unicode's."""
    known: dict[str, str] = {}
    for design in NAMING:
        for character, name in sets[design].characters.items():
            known.setdefault(_key(name), character)
    for design in NAMING:
        of_icon = {name: character for character, name in sets[design].characters.items()}
        for alias, name in sets[design].aliases.items():
            if name in of_icon:
                known.setdefault(_key(alias), of_icon[name])
    for character in characters:
        if "-" not in character:
            known.setdefault(_key(unicodedata.name(chr(int(character, 16)), character)), character)
    return known


def icons_of(icon_set: IconSet, known: dict[str, str]) -> dict[str, str]:
    """The icon of each character that a package draws; an icon stands for one character only."""
    if icon_set.characters:
        return icon_set.characters
    found: dict[str, str] = {}
    names = [(name, name) for name in icon_set.icons] + list(icon_set.aliases.items())
    for name, icon in names:
        character = known.get(_key(name))
        if character and character not in found and icon not in found.values():
            found[character] = icon
    return found


def without_doubles(pictures: dict[str, Pixels]) -> dict[str, Pixels]:
    """`pictures` by character, without those that stand for several characters."""
    count = Counter(picture.tobytes() for picture in pictures.values())
    return {character: picture for character, picture in pictures.items() if count[picture.tobytes()] == 1}


def save_sheet(pictures: list[Pixels], path: Path) -> None:
    """One sheet, row by row, as lossless WebP: the same pixels whatever decodes it."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.full((rows, COLUMNS, SIDE, SIDE, 3), 255, np.uint8)
    sheet.reshape(-1, SIDE, SIDE, 3)[: len(pictures)] = pictures
    image = Image.fromarray(sheet.transpose(0, 2, 1, 3, 4).reshape(rows * SIDE, COLUMNS * SIDE, 3))
    image.save(path, "WEBP", lossless=True, quality=100, method=6)


def main(packages: Path, output: Path) -> None:
    """Draw what the folder `packages` holds (node_modules/@iconify-json) into `output`."""
    sets = {design: IconSet.read(packages / design) for design in DESIGNS}
    labels = labels_of(sets)
    known = characters_by_name(sets, labels)
    drawn: dict[str, dict[str, Pixels]] = {}
    for design, icon_set in sets.items():
        icons = {
            character: icon for character, icon in icons_of(icon_set, known).items() if character in labels
        }
        drawn[design] = without_doubles({character: icon_set.draw(icon) for character, icon in icons.items()})
        print(f"{design}: {len(icons)} drawings, {len(icons) - len(drawn[design])} of them ambiguous")
    kept = sorted(
        (label, character)
        for character, label in labels.items()
        if sum(character in pictures for pictures in drawn.values()) >= LEAST_DRAWINGS
    )
    positions: dict[str, dict[str, int]] = {}
    for design, pictures in drawn.items():
        mine = [character for _, character in kept if character in pictures]
        positions[design] = {character: position for position, character in enumerate(mine)}
        save_sheet([pictures[character] for character in mine], output / f"{design}.webp")
    with (output / "table.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["label", "character", *DESIGNS])
        for label, character in kept:
            table.writerow([label, character, *(positions[design].get(character, "") for design in DESIGNS)])
    print(f"{len(kept)} labels, {sum(map(len, positions.values()))} pictures")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
