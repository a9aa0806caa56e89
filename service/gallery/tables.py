"""A table as a source: .csv or .jsonl with the columns path and label, and, if you like, id and metadata."""

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from service.gallery.check import ItemRefused, shown
from service.gallery.findings import Collector, Entry, ImportFailure

# Other names of columns: Hugging Face's image folders have `file_name`.
ALIASES = {"file_name": "path"}
OWN = ("path", "label", "id", "metadata")


def read_csv(table: Path, collector: Collector) -> None:
    """Tell `collector` of every row; raises `ImportFailure` if the columns cannot be told apart."""
    text = _text(table)
    first, _, rest = text.partition("\n")
    skipped, separator = 0, None
    if first.lower().startswith("sep="):  # how Excel is told of the separator
        text, skipped, separator = rest, 1, first.strip()[4:5]
    # Strict: a quote that is never closed would make one cell of all that follows.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator or _separator(text), strict=True)
    last = 0  # of the rows that were read whole
    try:
        header = _header(table, next(rows, []))
        last = rows.line_num
        for cells in rows:
            last = rows.line_num
            place = f"{table}, line {rows.line_num + skipped}"
            if any(cell.strip() for cell in cells):
                collector.add(place, partial(_csv_item, table, header, cells))
            else:
                collector.skip("empty row")
    except csv.Error as error:
        raise ImportFailure(
            f"{table}, line {last + 1 + skipped}: no CSV from there on ({error}): is a quote never closed, or"
            " followed by more than a separator? Nothing was added"
        ) from error


def read_jsonl(table: Path, collector: Collector) -> None:
    """Tell `collector` of every line that is not empty."""
    for number, line in enumerate(io.StringIO(_text(table), newline="\n"), start=1):
        if line.strip():
            place = f"{table}, line {number}"
            collector.add(place, partial(_jsonl_item, table, line.rstrip("\n")))


def _text(table: Path) -> str:
    content = table.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ImportFailure(f"{table} is UTF-16: save it as «CSV UTF-8»")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")  # Excel begins UTF-8 with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ImportFailure(f"{table}, line {line}: not UTF-8; save the table as «CSV UTF-8»") from error


def _separator(text: str) -> str:
    """Comma, unless the first line has none and has another: spreadsheets of some countries write it."""
    first = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in first), ",")


def _header(table: Path, cells: Sequence[str]) -> list[str]:
    """The columns' names: those of ours in lower case, the others as they are."""
    names = [cell.strip() for cell in cells]
    known = [ALIASES.get(name.casefold(), name.casefold()) for name in names]
    columns = [low if low in OWN else name for low, name in zip(known, names, strict=True)]
    found = ", ".join(map(shown, names)) or "none"
    twice = sorted({name for name in columns if columns.count(name) > 1}) if len(columns) < 1000 else []
    if twice:
        raise ImportFailure(f"{table}: two columns are {shown(twice[0])}; found: {found}. Rename one of them")
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise ImportFailure(
            f"{table}: no column `{'` and no column `'.join(missing)}` in its first line. Needed: path (or"
            f" file_name) and label; id and metadata are optional; found: {found}. Is the first line the"
            " header?"
        )
    return columns


def _csv_item(table: Path, header: Sequence[str], cells: Sequence[str]) -> Entry:
    cells = list(cells)
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(header):
        raise ItemRefused(
            f"{len(cells)} cells where the header has {len(header)}: is a comma or a quote missing?"
        )
    row: dict[str, Any] = {
        name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()
    }
    return _item(table, row)


def _jsonl_item(table: Path, line: str) -> Entry:
    row = _parse(line, "the line is")
    if not isinstance(row, dict):
        raise ItemRefused("the line is no JSON object with path and label")
    named: dict[str, Any] = {ALIASES.get(str(name), str(name)): value for name, value in row.items()}
    return _item(table, named)


def _item(table: Path, row: dict[str, Any]) -> Entry:
    path, label, id_ = (_cell(row, name) for name in ("path", "label", "id"))
    if not path or not label:
        raise ItemRefused("needs both `path` and `label`")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise ItemRefused(f"{shown(path)} is a URL; nothing is fetched: download the images first")
    if "\0" in path:
        raise ItemRefused(f"the path {shown(path)} holds a NUL")
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _parse(metadata, "the metadata is")
    if not isinstance(metadata, dict):
        raise ItemRefused("metadata must be a JSON object")
    extra = {name: value for name, value in row.items() if name not in OWN}
    return id_ or path.lstrip("/"), label, metadata | extra, table.parent / path


def _cell(row: dict[str, Any], name: str) -> str:
    """A text, or a whole number as text; "" if it is missing."""
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ItemRefused(f"`{name}` must be text or a whole number, got {shown(json.dumps(value))}")
    return str(value).strip()


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise ItemRefused(f"{what} nested too deep") from error
    except ValueError as error:
        raise ItemRefused(f"{what} no valid JSON ({error})") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ItemRefused(f"{name} is no JSON number")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ItemRefused("a member is given twice: which one is meant?")
    return found
