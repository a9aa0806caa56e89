"""What `retrievalguard gallery add` can read: a folder per label, a table of paths, or a data set by name."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index import Item
from models.datasets import DATASETS
from service.images import png

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


class ImportFailure(Exception):
    """A source that cannot be read; the message names the file, the line and the mend."""


@dataclass(frozen=True)
class Source:
    """An item to add, and where its image comes from: a file, or bytes at hand."""

    item: Item
    path: Path | None = None
    content: bytes = b""

    def read(self) -> bytes:
        """The image file's bytes; `OSError` if the file cannot be read."""
        return self.content if self.path is None else self.path.read_bytes()


def sources(origin: str) -> list[Source]:
    """Everything that `origin` names, in a fixed order.

    A data set's name: its gallery part. A folder: every image in a sub-folder, which is its label; the id
    is the path inside the folder. A .csv or .jsonl file: columns `path` (relative to the file) and
    `label`; `id` and `metadata` (JSON) are optional, further CSV columns become metadata.
    """
    path = Path(origin)
    reader = {".csv": _csv, ".jsonl": _jsonl}.get(path.suffix.lower())
    if path.is_dir():
        found = list(_folder(path))
    elif reader and path.is_file():
        try:
            found = list(reader(path))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ImportFailure(f"{path} cannot be read as UTF-8 text with a row a line: {error}") from error
    elif origin in DATASETS:
        found = list(_dataset(origin))
    else:
        raise ImportFailure(
            f"{origin} is neither a folder with a sub-folder for each label, nor a .csv or .jsonl file, nor a"
            f" data set ({', '.join(DATASETS)})"
        )
    if not found:
        raise ImportFailure(f"{origin} holds no images: expected LABEL/IMAGE.png (or .jpg, .webp)")
    return found


def _dataset(name: str) -> Iterator[Source]:
    data = DATASETS[name]("gallery")
    for pixels, label, id_ in zip(data.pixels, data.labels, data.ids, strict=True):
        yield Source(Item(id_, label), content=png(pixels))


def _folder(folder: Path) -> Iterator[Source]:
    for path in sorted(folder.glob("*/**/*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            inside = path.relative_to(folder)
            yield Source(Item(inside.as_posix(), inside.parts[0]), path)


def _csv(table: Path) -> Iterator[Source]:
    with table.open(newline="", encoding="utf-8-sig") as file:  # Excel begins UTF-8 with a mark
        reader = csv.DictReader(file, restkey="")
        for row in reader:
            if "" in row or None in row.values():
                cells = "more" if "" in row else "fewer"
                raise ImportFailure(f"{table}, line {reader.line_num}: {cells} cells than the first line has")
            extra = {k: v for k, v in row.items() if k not in ("path", "label", "id", "metadata") and v}
            yield _row(table, reader.line_num, row, extra)


def _jsonl(table: Path) -> Iterator[Source]:
    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                row = _parse(table, number, line, "not valid JSON")
                if not isinstance(row, dict):
                    raise ImportFailure(f"{table}, line {number}: expected an object with path and label")
                yield _row(table, number, row, {})


def _row(table: Path, line: int, row: dict[str, Any], extra: dict[str, Any]) -> Source:
    path, label, id_ = (_text(table, line, row, name) for name in ("path", "label", "id"))
    if not path or not label:
        raise ImportFailure(f"{table}, line {line}: needs both `path` and `label`")
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _parse(table, line, metadata, "metadata is not valid JSON")
    if not isinstance(metadata, dict):
        raise ImportFailure(f"{table}, line {line}: metadata must be a JSON object")
    return Source(Item(id_ or path, label, metadata | extra), table.parent / path)


def _parse(table: Path, line: int, text: str, complaint: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ImportFailure(f"{table}, line {line}: {complaint} ({error})") from error


def _text(table: Path, line: int, row: dict[str, Any], name: str) -> str:
    """A text or a number as text; "" if it is missing."""
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ImportFailure(f"{table}, line {line}: `{name}` must be text or a number")
    return str(value)
