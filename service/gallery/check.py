"""What an item may be called: one check of ids, labels and metadata, whatever way they come.

What is stored has to be sent back: as JSON in UTF-8, in a URL, on one line of a log.
"""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from index import Item

# Deeper metadata is data of another kind; JSON libraries of clients give up at some hundreds.
MAX_DEPTH = 32


class ItemRefused(Exception):
    """An item cannot be stored under this name; the message says what to change."""


@dataclass(frozen=True)
class ItemRules:
    """Limits of an installation: characters of an id or a label, bytes of metadata as JSON."""

    max_name: int = 512
    max_metadata_bytes: int = 65_536

    def item(self, id_: str, label: str, metadata: dict[str, Any]) -> Item:
        """The item, with spaces around id and label taken away; raises `ItemRefused`."""
        return Item(self._id(id_), self._name("label", label), self._metadata(metadata))

    def check_prefix(self, prefix: str) -> None:
        """Raise `ItemRefused` if no id can begin with `prefix`."""
        self._id(f"{prefix}x")

    def _name(self, what: str, text: str) -> str:
        found = text.strip()
        if not found:
            raise ItemRefused(f"the {what} is empty")
        if len(found) > self.max_name:
            raise ItemRefused(f"the {what} has {len(found)} characters, at most {self.max_name} may be")
        _check_text(what, found)
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in found):
            raise ItemRefused(f"the {what} {shown(found)} holds a line break or another control character")
        return found

    def _id(self, text: str) -> str:
        found = self._name("id", text)
        if any(part in ("", ".", "..") for part in found.split("/")):
            raise ItemRefused(
                f"the id {shown(found)} holds an empty part, `.` or `..`, which URLs drop: give it another id"
            )
        return found

    def _metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        _check_depth(metadata)
        try:
            written = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ItemRefused(f"the metadata cannot be sent as JSON: {error}") from error
        _check_text("metadata", written)
        size = len(written.encode())
        if size > self.max_metadata_bytes:
            raise ItemRefused(f"the metadata has {size} bytes, at most {self.max_metadata_bytes} may be")
        return metadata


def shown(text: str) -> str:
    """`text` for a message: quoted, on one line, cut, and printable on every terminal."""
    cut = text if len(text) <= 80 else text[:77] + "..."
    return repr(cut).encode(errors="backslashreplace").decode()


def same_label(label: str) -> str:
    """What two labels have in common that a person would take for one: case, spaces, Unicode form, marks."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ItemRefused(
            f"the {what} {shown(text)} holds half of a character (a lone surrogate), which is no UTF-8"
        ) from error


def _check_depth(value: Any) -> None:
    """Level by level, so that depth costs no stack."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ItemRefused(f"the metadata is nested more than {MAX_DEPTH} levels deep")
